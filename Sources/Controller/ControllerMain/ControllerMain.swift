@main struct ControllerMainMain { static func main() {} }
