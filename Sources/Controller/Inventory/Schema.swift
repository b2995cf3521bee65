internal import GRDB

/// The versions of the inventory's tables. A version, once released, is never edited: a test pins what it makes.
///
/// 1: the first.
enum Schema {
    static let version1 = """
        CREATE TABLE dataCenter (
            id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL,
            createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL, revision INTEGER NOT NULL
        ) WITHOUT ROWID;

        CREATE TABLE imageStorage (
            id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, type TEXT NOT NULL,
            dataCenterID TEXT NOT NULL REFERENCES dataCenter (id), hostAddress TEXT NOT NULL, sshPort INTEGER NOT NULL,
            username TEXT NOT NULL, hostKey TEXT, credentialKind TEXT NOT NULL, hostScope TEXT,
            diskMethod TEXT NOT NULL, diskDevice TEXT, diskChoice TEXT, mountPath TEXT NOT NULL,
            retrieveExistingImages INTEGER NOT NULL, imageSyncNetwork TEXT, dataNetwork TEXT,
            reservedCapacityBytes INTEGER NOT NULL, blobUploadConcurrency INTEGER NOT NULL,
            blobDownloadConcurrency INTEGER NOT NULL, state TEXT NOT NULL, status TEXT NOT NULL, statusReason TEXT,
            agentVersion TEXT, storeID TEXT UNIQUE, agentPort INTEGER, certificateIssuedAt TEXT,
            certificateExpiresAt TEXT, usage TEXT, lastSeenAt TEXT, requiresReconnect INTEGER NOT NULL,
            isBeingDeleted INTEGER NOT NULL, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL,
            revision INTEGER NOT NULL,
            UNIQUE (hostAddress, mountPath)
        ) WITHOUT ROWID;
        CREATE INDEX imageStorageByDataCenter ON imageStorage (dataCenterID, name, id);
        CREATE INDEX imageStorageByCreation ON imageStorage (createdAt, id);
        CREATE INDEX imageStorageByUpdate ON imageStorage (updatedAt, id);

        CREATE TABLE image (
            id TEXT PRIMARY KEY NOT NULL, imageStorageID TEXT NOT NULL REFERENCES imageStorage (id),
            name TEXT NOT NULL, description TEXT NOT NULL, type TEXT NOT NULL, format TEXT NOT NULL,
            status TEXT NOT NULL, virtualSizeBytes INTEGER, storedBytes INTEGER, referencedBytes INTEGER,
            contentDigest TEXT, sourceDigest TEXT, sourceSizeBytes INTEGER, sourceKind TEXT NOT NULL,
            sourceText TEXT NOT NULL, architecture TEXT, exported INTEGER NOT NULL, recycledAt TEXT, expungeAt TEXT,
            failure TEXT, notes TEXT NOT NULL, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL,
            revision INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX imageByName ON image (name, id);
        CREATE INDEX imageByCreation ON image (createdAt, id);
        CREATE INDEX imageByUpdate ON image (updatedAt, id);
        CREATE INDEX imageByStorageAndName ON image (imageStorageID, name, id);
        CREATE INDEX imageByStorageAndCreation ON image (imageStorageID, createdAt, id);
        CREATE INDEX imageByStatusAndName ON image (status, name, id);
        CREATE INDEX imageByStatusAndCreation ON image (status, createdAt, id);
        CREATE INDEX imageByContent ON image (contentDigest, name, id);

        CREATE TABLE upload (
            id TEXT PRIMARY KEY NOT NULL, imageStorageID TEXT NOT NULL REFERENCES imageStorage (id),
            byteCount INTEGER NOT NULL, durableByteCount INTEGER NOT NULL, fileName TEXT, userID TEXT, imageID TEXT,
            expiresAt TEXT NOT NULL, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL, revision INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX uploadByStorage ON upload (imageStorageID, createdAt, id);
        CREATE INDEX uploadByImage ON upload (imageID);
        CREATE INDEX uploadByExpiry ON upload (expiresAt, id);
        CREATE INDEX uploadByCreation ON upload (createdAt, id);
        CREATE INDEX uploadByUpdate ON upload (updatedAt, id);

        CREATE TABLE job (
            id TEXT PRIMARY KEY NOT NULL, type TEXT NOT NULL, state TEXT NOT NULL, progress TEXT NOT NULL,
            steps TEXT NOT NULL, error TEXT, resourceType TEXT NOT NULL, resourceID TEXT NOT NULL, waitingFor TEXT,
            notes TEXT NOT NULL, requestedBy TEXT NOT NULL, arguments TEXT NOT NULL, concurrencyKey TEXT, isUndoing INTEGER NOT NULL,
            isCancelRequested INTEGER NOT NULL, startedAt TEXT, finishedAt TEXT, createdAt TEXT NOT NULL,
            updatedAt TEXT NOT NULL, revision INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX jobByCreation ON job (createdAt, id);
        CREATE INDEX jobByUpdate ON job (updatedAt, id);
        CREATE INDEX jobByState ON job (state, createdAt, id);
        CREATE INDEX jobByResource ON job (resourceID, createdAt, id);
        CREATE INDEX jobByFinish ON job (finishedAt, id);

        CREATE TABLE user (
            id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, role TEXT NOT NULL,
            isEnabled INTEGER NOT NULL, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL, revision INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE password (
            userID TEXT PRIMARY KEY NOT NULL REFERENCES user (id) ON DELETE CASCADE, hash TEXT NOT NULL
        ) WITHOUT ROWID;

        CREATE TABLE token (
            id TEXT PRIMARY KEY NOT NULL, type TEXT NOT NULL,
            userID TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE, name TEXT NOT NULL,
            description TEXT NOT NULL, role TEXT NOT NULL, expiresAt TEXT, lastUsedAt TEXT NOT NULL,
            createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL, revision INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX tokenByTypeAndName ON token (type, name, id);
        CREATE INDEX tokenByUser ON token (userID, type, id);
        CREATE TABLE tokenDigest (
            digest BLOB PRIMARY KEY NOT NULL, tokenID TEXT NOT NULL REFERENCES token (id) ON DELETE CASCADE
        ) WITHOUT ROWID;
        CREATE INDEX tokenDigestByToken ON tokenDigest (tokenID);

        CREATE TABLE sealed (
            owner TEXT NOT NULL, row TEXT NOT NULL, field TEXT NOT NULL, value BLOB NOT NULL,
            PRIMARY KEY (owner, row, field)
        ) WITHOUT ROWID;

        CREATE TABLE systemParameter (
            name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, updatedAt TEXT NOT NULL, revision INTEGER NOT NULL
        ) WITHOUT ROWID;

        CREATE TABLE event (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, change TEXT NOT NULL, id TEXT NOT NULL,
            at TEXT NOT NULL
        );

        CREATE TABLE audit (
            sequence INTEGER PRIMARY KEY, at TEXT NOT NULL, userID TEXT, username TEXT NOT NULL, address TEXT NOT NULL,
            action TEXT NOT NULL, resourceType TEXT, resourceID TEXT, outcome TEXT NOT NULL, detail TEXT NOT NULL,
            previousHash BLOB NOT NULL, hash BLOB NOT NULL
        );

        CREATE TABLE idempotency (
            caller TEXT NOT NULL, key TEXT NOT NULL, route TEXT NOT NULL, bodyDigest BLOB NOT NULL, answer TEXT,
            createdAt TEXT NOT NULL,
            PRIMARY KEY (caller, key)
        ) WITHOUT ROWID;
        CREATE INDEX idempotencyByCreation ON idempotency (createdAt);
        """

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in try db.execute(sql: version1) }
        return migrator
    }
}
