import Foundation
import HTTPTypes
import Model

extension HTTPField.Name {
    static let tusResumable = HTTPField.Name("Tus-Resumable")!
    static let tusVersion = HTTPField.Name("Tus-Version")!
    static let tusExtension = HTTPField.Name("Tus-Extension")!
    static let tusMaxSize = HTTPField.Name("Tus-Max-Size")!
    static let tusChecksumAlgorithm = HTTPField.Name("Tus-Checksum-Algorithm")!
    static let uploadLength = HTTPField.Name("Upload-Length")!
    static let uploadOffset = HTTPField.Name("Upload-Offset")!
    static let uploadMetadata = HTTPField.Name("Upload-Metadata")!
    static let uploadChecksum = HTTPField.Name("Upload-Checksum")!
    static let uploadExpires = HTTPField.Name("Upload-Expires")!
    static let uploadDeferLength = HTTPField.Name("Upload-Defer-Length")!
    static let methodOverride = HTTPField.Name("X-HTTP-Method-Override")!
}

/// The header fields of tus 1.0.0 (https://tus.io/protocols/resumable-upload).
enum TusHeaders {
    static let version = "1.0.0"

    /// A number of bytes.
    static func byteCount(_ text: String?, _ name: HTTPField.Name) throws(APIError) -> UInt64 {
        guard let text, text.utf8.count <= 20, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let value = UInt64(text)
        else { throw malformed(name, "this request needs the field '\(name.rawName)' with a whole number of bytes") }
        return value
    }

    /// Keys and base64 values, separated by commas.
    static func metadata(_ text: String?) throws(APIError) -> [String: String] {
        guard let text, !text.isEmpty else { return [:] }
        guard text.utf8.count <= Limits.uploadMetadataByteCountMax else {
            throw malformed(.uploadMetadata, "this field is too long")
        }
        var out: [String: String] = [:]
        for pair in text.split(separator: ",") {
            let sides = pair.split(separator: " ", omittingEmptySubsequences: true)
            guard (1...2).contains(sides.count) else {
                throw malformed(.uploadMetadata, "each entry is a key, a space and a base64 value")
            }
            let value = sides.count == 2 ? Data(base64Encoded: String(sides[1])) : Data()
            guard let value, let decoded = String(validating: value, as: UTF8.self) else {
                throw malformed(.uploadMetadata, "the value of '\(sides[0].prefix(40))' is not base64 of UTF-8")
            }
            guard out.updateValue(decoded, forKey: String(sides[0])) == nil else {
                throw malformed(.uploadMetadata, "the key '\(sides[0].prefix(40))' comes twice")
            }
        }
        return out
    }

    /// `sha256` and the digest in base64.
    static func checksum(_ text: String?) throws(APIError) -> Digest? {
        guard let text else { return nil }
        let sides = text.split(separator: " ", omittingEmptySubsequences: true)
        guard sides.count == 2 else {
            throw malformed(.uploadChecksum, "this field is an algorithm, a space and a base64 digest")
        }
        guard sides[0] == "sha256" else {
            throw malformed(.uploadChecksum, "only sha256 is known here; OPTIONS /v1/uploads says so")
        }
        guard let bytes = Data(base64Encoded: String(sides[1])), let digest = Digest(bytes: Array(bytes)) else {
            throw malformed(.uploadChecksum, "a SHA-256 is 32 bytes in base64")
        }
        return digest
    }

    /// RFC 9110's date, as `Upload-Expires` has it.
    static func date(_ moment: Timestamp) -> String {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return formatter.string(from: Date(timeIntervalSince1970: Double(moment.milliseconds) / 1000))
    }

    /// A 400, which is what tus says of a malformed field.
    static func malformed(_ name: HTTPField.Name, _ detail: String) -> APIError {
        APIError(status: .badRequest, code: "invalid-value", detail: detail, field: name.rawName)
    }
}
