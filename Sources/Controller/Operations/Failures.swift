import AgentLink
import Bootstrap
import Inventory
import Model
import Scheduler
import Wire

extension BootstrapError {
    /// The stable code of the API.
    var code: String {
        switch self {
        case .unknownHost: "host-unknown"
        case .unreachable: "host-unreachable"
        case .refusedPort: "ssh-port-closed"
        case .notSSH: "not-ssh"
        case .hostKeyChanged: "ssh-host-key-changed"
        case .hostKeyUnsupported: "ssh-host-key-unsupported"
        case .privateKeyUnusable: "ssh-private-key-unusable"
        case .authenticationFailed: "ssh-authentication-failed"
        case .noSudo: "sudo-required"
        case .wrongSudoPassword: "sudo-denied"
        case .unsupportedOS: "os-unsupported"
        case .unsupportedArchitecture: "architecture-unsupported"
        case .bundleUnusable: "bundle-unusable"
        case .installFailed: "install-failed"
        case .notInstalled: "agent-not-installed"
        case .timeout: "host-timeout"
        case .disconnected: "host-disconnected"
        case .badAnswer: "host-bad-answer"
        case .host(let code, _): code.rawValue
        case .cancelled: "cancelled"
        }
    }

    /// For the one who asked.
    var operationError: OperationError { .host(code: code, detail: description) }

    /// For a step: what may pass is tried again.
    var stepFailure: StepFailure {
        if case .cancelled = self { return .cancelled }
        let failure = Failure(code: code, detail: description)
        return isTransient ? .retry(failure) : .failed(failure)
    }

    /// Whether there is nothing on the host that a removal would have to remove.
    var saysNotInstalled: Bool {
        switch self {
        case .notInstalled, .host(code: .notInstalled, _): true
        default: false
        }
    }
}

extension AgentLinkError {
    private var code: String {
        switch self {
        case .unreachable, .timeout: "image-storage-not-connected"
        case .wrongIdentity: "agent-identity-wrong"
        case .noCommonVersion: "agent-version-unsupported"
        case .failed(let failure): failure.code.rawValue
        case .protocolViolation: "agent-protocol-violation"
        case .cancelled: "cancelled"
        }
    }

    /// Words for people.
    var words: String {
        switch self {
        case .unreachable(let why): "the agent does not answer: \(why)"
        case .timeout(let why): "the agent took too long: \(why)"
        case .wrongIdentity(let why): "another agent answered: \(why)"
        case .noCommonVersion(let why): "the agent speaks another version (\(why)); reconnect the image storage"
        case .failed(let failure): failure.detail
        case .protocolViolation(let why): "the agent broke the protocol: \(why)"
        case .cancelled: "cancelled"
        }
    }

    /// For the one who asked about a storage.
    func operationError(_ storage: ImageStorageRecord) -> OperationError {
        switch self {
        case .unreachable, .timeout: .storageNotConnected(name: storage.name, reason: words)
        default: .agent(code: code, detail: words)
        }
    }

    /// For a step: an agent that is away is waited for.
    var stepFailure: StepFailure {
        switch self {
        case .unreachable, .timeout: .wait(words)
        case .failed(let failure) where failure.code == .draining: .wait(words)
        case .failed(let failure) where failure.code == .cancelled: .retry(Failure(code: code, detail: words))
        case .failed(let failure) where failure.isRetryable: .retry(Failure(code: code, detail: words))
        case .cancelled: .cancelled
        default: .failed(Failure(code: code, detail: words))
        }
    }

    /// The same, where the agent is not waited for forever.
    var boundedStepFailure: StepFailure {
        if case .wait(let words) = stepFailure { return .retry(Failure(code: code, detail: words)) }
        return stepFailure
    }
}
