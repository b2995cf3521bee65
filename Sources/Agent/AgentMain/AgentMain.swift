@main struct AgentMainMain { static func main() {} }
