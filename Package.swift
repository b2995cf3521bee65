// swift-tools-version: 6.2
// The import table of the project: targets stand in dependency order, and a target may import
// only what its line names (`swift build --explicit-target-dependency-import-check error`).
// docs/architecture.md tells what each room is for.
import PackageDescription

/// `LAMINA_PARTS=core` leaves out everything that needs a package: the store core builds and tests in seconds.
let coreOnly = Context.environment["LAMINA_PARTS"] == "core"

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

func room(_ floor: String, _ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(floor)/\(name)", swiftSettings: strict)
}

func main(_ name: String, _ path: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: "Sources/\(path)", swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies + ["TestSupport"], path: "Tests/\(name)", swiftSettings: strict)
}

// Libraries of the system; each has one home, named behind it.
let system: [Target] = [
    .systemLibrary(name: "CCrypto", path: "Sources/Protocol/CCrypto", pkgConfig: "libcrypto"),  // Model
    .systemLibrary(name: "CZstd", path: "Sources/Protocol/CZstd", pkgConfig: "libzstd"),  // Compression
    .systemLibrary(name: "CZlib", path: "Sources/Protocol/CZlib", pkgConfig: "zlib"),  // Compression
    .systemLibrary(name: "CLinux", path: "Sources/Agent/CLinux"),  // Volumes
    .systemLibrary(name: "CSQLite", path: "Sources/Agent/CSQLite", pkgConfig: "sqlite3"),  // SliceStorage
]

// The store core: no package is needed to build or test it.
let core: [Target] = [
    room("Protocol", "Model", ["CCrypto"]),
    room("Protocol", "Compression", ["CZstd", "CZlib"]),
    room("Protocol", "Blobs", ["Model", "Compression"]),
    room("Agent", "Volumes", ["Model", "CLinux"]),
    room("Agent", "DiskImage", ["Model", "Compression", "Volumes"]),
    room("Agent", "Storage", ["Model", "DiskImage", "Volumes"]),
    room("Agent", "SliceStorage", ["Model", "Compression", "Blobs", "Volumes", "DiskImage", "Storage", "CSQLite"]),
    .target(
        name: "TestSupport", dependencies: ["Model", "Volumes", "DiskImage"], path: "Tests/TestSupport",
        swiftSettings: strict),
    tests("ModelTests", ["Model"]),
    tests("BlobsTests", ["Model", "Compression", "Blobs"]),
    tests("DiskImageTests", ["Model", "Compression", "DiskImage", "Volumes"]),
    tests("SliceStorageTests", ["Model", "Blobs", "Volumes", "DiskImage", "Storage", "SliceStorage"]),
]

let nio: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let posix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let tls: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let everythingElse: [Target] = [
    .systemLibrary(name: "CCurl", path: "Sources/Agent/CCurl", pkgConfig: "libcurl"),  // Fetch
    .systemLibrary(name: "CSSH2", path: "Sources/Controller/CSSH2", pkgConfig: "libssh2"),  // Bootstrap
    // Protocol: what both sides must agree on.
    .target(name: "CCRC32C", path: "Sources/Protocol/CCRC32C"),  // Wire
    room("Protocol", "Wire", ["Model", "CCRC32C"]),
    room(
        "Protocol", "Identity",
        [
            "Model", .product(name: "X509", package: "swift-certificates"), crypto,
            .product(name: "SwiftASN1", package: "swift-asn1"),
        ]),
    room(
        "Protocol", "Transport",
        ["Model", "Wire", nio, posix, tls, .product(name: "NIOTLS", package: "swift-nio")]),
    // Agent: holds bytes.
    room("Agent", "HostCommand"),
    room("Agent", "Disks", ["Model", "HostCommand"]),
    room("Agent", "HostSetup", ["Model", "CCrypto", "HostCommand", "Disks"]),
    room("Agent", "Fetch", ["Model", "CCurl"]),
    room("Agent", "AgentService", ["Model", "Wire", "Storage", "DiskImage", "Volumes", "Fetch", "Disks", log]),
    main(
        "AgentMain", "Agent/AgentMain",
        [
            "Model", "Wire", "Identity", "Transport", "Volumes", "Storage", "SliceStorage", "DiskImage", "Fetch",
            "Disks",
            "HostCommand", "HostSetup", "AgentService", arguments, log,
        ]),
    // Controller: knows.
    room(
        "Controller", "Secrets",
        ["Model", crypto, .product(name: "CryptoExtras", package: "swift-crypto")]),
    room("Controller", "Inventory", ["Model", "Secrets", .product(name: "GRDB", package: "GRDB.swift")]),
    room("Controller", "Scheduler", ["Model", "Secrets", "Inventory", log]),
    room("Controller", "Bootstrap", ["Model", "CSSH2"]),
    room("Controller", "AgentLink", ["Model", "Wire", log]),
    room(
        "Controller", "Operations",
        ["Model", "Wire", "Secrets", "Inventory", "Scheduler", "AgentLink", "Bootstrap", "Identity", log]),
    room("Controller", "Console"),
    room(
        "Controller", "API",
        [
            "Model", "Secrets", "Inventory", "Operations", "Console", nio, log,
            .product(name: "Hummingbird", package: "hummingbird"),
            .product(name: "HTTPTypes", package: "swift-http-types"),
            .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
        ]),
    main(
        "ControllerMain", "Controller/ControllerMain",
        [
            "Model", "Wire", "Identity", "Transport", "Secrets", "Inventory", "Scheduler", "Bootstrap", "AgentLink",
            "Operations", "API", arguments, log, nio, tls,
            .product(name: "Hummingbird", package: "hummingbird"),
            .product(name: "HummingbirdCore", package: "hummingbird"),
            .product(name: "HummingbirdTLS", package: "hummingbird"),
            .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        ]),
    main(
        "CLI", "CLI",
        [
            "Model", arguments, nio, tls, .product(name: "AsyncHTTPClient", package: "async-http-client"),
            .product(name: "NIOHTTP1", package: "swift-nio"),
        ]),
    tests("WireTests", ["Model", "Wire"]),
    tests("IdentityTests", ["Model", "Identity"]),
    .target(
        name: "LinkTestSupport", dependencies: ["Model", "Wire", "Identity", "Transport"],
        path: "Tests/LinkTestSupport", swiftSettings: strict),
    tests("TransportTests", ["Model", "Wire", "Identity", "Transport", "LinkTestSupport", nio, posix, tls]),
    tests("AgentLinkTests", ["Model", "Wire", "Transport", "AgentLink", "LinkTestSupport", log]),
    tests("DisksTests", ["Model", "HostCommand", "Disks", "HostSetup"]),
    .executableTarget(
        name: "HostVerbTool", dependencies: ["Model", "HostCommand", "HostSetup"], path: "Tests/HostVerbTool",
        swiftSettings: strict),
    tests("FetchTests", ["Model", "Fetch"]),
    tests(
        "AgentServiceTests",
        [
            "Model", "Wire", "Identity", "Transport", "Storage", "SliceStorage", "DiskImage", "Volumes", "Fetch",
            "AgentService", "AgentLink", "LinkTestSupport", log,
        ]),
    .target(
        name: "ControllerTestSupport", dependencies: ["Model", "Secrets", "Inventory"],
        path: "Tests/ControllerTestSupport", swiftSettings: strict),
    tests(
        "InventoryTests",
        [
            "Model", "Secrets", "Inventory", "ControllerTestSupport",
            .product(name: "GRDB", package: "GRDB.swift"),
        ]),
    tests("SchedulerTests", ["Model", "Secrets", "Inventory", "Scheduler", "ControllerTestSupport", log]),
    tests("BootstrapTests", ["Model", "Bootstrap", "HostVerbTool"]),
    tests(
        "OperationsTests",
        [
            "Model", "Wire", "Secrets", "Inventory", "Scheduler", "AgentLink", "Operations", "Bootstrap", "Identity",
            "Transport", "Storage", "SliceStorage", "Fetch", "AgentService", "ControllerTestSupport", log,
        ]),
    tests(
        "APITests",
        [
            "Model", "Wire", "Identity", "Secrets", "Inventory", "AgentLink", "Bootstrap", "Operations", "API",
            "ControllerTestSupport", log, nio, .product(name: "NIOEmbedded", package: "swift-nio"),
            .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
            .product(name: "HTTPTypes", package: "swift-http-types"),
            .product(name: "Hummingbird", package: "hummingbird"),
            .product(name: "HummingbirdTesting", package: "hummingbird"),
        ]),
    tests(
        "CLITests",
        [
            "Model", "Identity", "CLI", arguments, nio, posix, tls, .product(name: "NIOHTTP1", package: "swift-nio"),
        ]),
]

let package = Package(
    name: "lamina",
    products: coreOnly
        ? []
        : [
            .executable(name: "lamina-controller", targets: ["ControllerMain"]),
            .executable(name: "lamina-agent", targets: ["AgentMain"]),
            .executable(name: "lamina", targets: ["CLI"]),
        ],
    dependencies: coreOnly
        ? []
        : [
            .package(url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.1", traits: []),
            .package(url: "https://github.com/groue/GRDB.swift.git", from: "7.10.0"),
            .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
            .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
            .package(url: "https://github.com/apple/swift-nio-extras.git", from: "1.35.0"),
            .package(url: "https://github.com/apple/swift-certificates.git", from: "1.21.1"),
            .package(url: "https://github.com/apple/swift-asn1.git", from: "1.7.4"),
            .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
            .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
            .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
            .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0"),
            .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
            .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
        ],
    targets: system + core + (coreOnly ? [] : everythingElse),
    swiftLanguageModes: [.v6])
