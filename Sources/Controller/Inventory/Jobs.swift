internal import GRDB
import Model

extension Transaction {
    /// Every job that has not ended, oldest first.
    package func unfinishedJobs() throws(Failure) -> [JobRecord] {
        try run { db in
            try Stored<JobRecord>.filter(["queued", "running"].contains(Column("state")))
                .order(Column("createdAt"), Column("id")).fetchAll(db).map(\.record)
        }
    }

    /// Jobs that have not ended and are about one of these resources.
    package func unfinishedJobs(about ids: [String]) throws(Failure) -> [JobRecord] {
        try run { db in
            try Stored<JobRecord>.filter(ids.contains(Column("resourceID")))
                .filter(["queued", "running"].contains(Column("state"))).order(Column("createdAt"), Column("id"))
                .fetchAll(db).map(\.record)
        }
    }

    /// Jobs that have not ended and are about an image storage or one of its images.
    package func unfinishedJobs(ofStorage id: ImageStorageID) throws(Failure) -> [JobRecord] {
        try run { db in
            try Stored<JobRecord>.filter(
                sql: """
                    state IN ('queued', 'running')
                    AND (resourceID = ? OR resourceID IN (SELECT id FROM image WHERE imageStorageID = ?))
                    """, arguments: [id.description, id.description]
            ).order(Column("createdAt"), Column("id")).fetchAll(db).map(\.record)
        }
    }

    /// Removes jobs that ended before `moment`, at most 1,000 at a time. Answers how many.
    package func deleteJobs(finishedBefore moment: Timestamp) throws(Failure) -> Int {
        let ids = try run { db in
            try String.fetchAll(
                db, sql: "SELECT id FROM job WHERE finishedAt < ? ORDER BY finishedAt LIMIT 1000",
                arguments: [moment.description])
        }
        for text in ids {
            guard let id = try? JobID(parsing: text) else { continue }
            try delete(JobRecord.self, id)
        }
        return ids.count
    }

    /// Uploads that no client came back for.
    package func uploads(expiredBefore moment: Timestamp) throws(Failure) -> [UploadRecord] {
        try run { db in
            try Stored<UploadRecord>.filter(Column("expiresAt") < moment.description).filter(Column("imageID") == nil)
                .order(Column("expiresAt")).limit(1000).fetchAll(db).map(\.record)
        }
    }

    /// Uploads that an image is being made of.
    package func uploads(of image: ImageID) throws(Failure) -> [UploadRecord] {
        try run { db in
            try Stored<UploadRecord>.filter(Column("imageID") == image.description).fetchAll(db).map(\.record)
        }
    }

    /// Images of a storage, in pages by id.
    package func images(
        ofStorage id: ImageStorageID, after: ImageID? = nil, limit: Int = 500
    ) throws(Failure) -> [ImageRecord] {
        try run { db in
            var request = Stored<ImageRecord>.filter(Column("imageStorageID") == id.description)
            if let after { request = request.filter(Column("id") > after.description) }
            return try request.order(Column("id")).limit(limit).fetchAll(db).map(\.record)
        }
    }
}
