import Model
import Wire

/// Frames of protocol version 1, byte for byte, made by another program from docs/protocol.md.
enum GoldenFrames {
    /// The payload of a hello: versions 1 to 1, a controller, software 0.1.0.
    static let hello = Hex.decode("0100010001050123456789ab4cde8f0123456789abcd302e312e30") ?? []
    /// The same of an agent that speaks versions 1 to 3.
    static let helloOfNewerAgent = Hex.decode("0100030002050123456789ab4cde8f0123456789abcd322e302e31") ?? []

    static let all: [(Frame, String)] = [
        (
            Frame(.hello, payload: hello),
            "4c4d4e410101000000000000000000001b000000cbb93412000000007ef075fb0100010001050123456789ab"
                + "4cde8f0123456789abcd302e312e30"
        ),
        (
            Frame(.request, exchange: 1, payload: Array(#"{"arguments":{},"verb":"status"}"#.utf8)),
            "4c4d4e4101020000010000000000000020000000ae9e7d0d00000000a1fa56987b22617267756d656e747322"
                + "3a7b7d2c2276657262223a22737461747573227d"
        ),
        (
            Frame(.request, exchange: 2, flags: 1, payload: Array("{}".utf8)),
            "4c4d4e4101020100020000000000000002000000aad07b2900000000c26cc23f7b7d"
        ),
        (
            Frame(.reply, exchange: 1, payload: Array("{}".utf8)),
            "4c4d4e4101030000010000000000000002000000aad07b2900000000896ac04f7b7d"
        ),
        (
            Frame(.failure, exchange: 1, payload: Array("{}".utf8)),
            "4c4d4e4101040000010000000000000002000000aad07b2900000000d0cc17037b7d"
        ),
        (
            Frame(.progress, exchange: 0x0102_0304_0506_0708, payload: Array("{}".utf8)),
            "4c4d4e4101050000080706050403020102000000aad07b2900000000c393462f7b7d"
        ),
        (
            Frame(.data, exchange: 3, payload: [0, 1, 2, 255]),
            "4c4d4e410106000003000000000000000400000006ba1e6700000000eb7f9716000102ff"
        ),
        (
            Frame(.end, exchange: 3),
            "4c4d4e41010700000300000000000000000000000000000000000000341a5f92"
        ),
        (
            Frame(.cancel, exchange: 3),
            "4c4d4e41010800000300000000000000000000000000000000000000bea6237e"
        ),
        (
            Frame(.ping),
            "4c4d4e41010900000000000000000000000000000000000000000000414e3452"
        ),
        (
            Frame(.pong),
            "4c4d4e41010a00000000000000000000000000000000000000000000095e40cc"
        ),
    ]
}
