import CLinuxProcess
import Glibc
import KeelsonCore

/// Starts a program by `posix_spawn`: no copy of this process runs in between, whose threads and
/// locks would be in whatever state they are.
struct ChildSpawn: Sendable {
  private let program: ChildProcess.Program

  init(_ program: ChildProcess.Program) {
    self.program = program
  }

  /// - Parameters: where its output goes; they stay the caller's.
  /// - Returns: its process, which leads a group of its own.
  /// - Throws: ``RPCError`` whose message is the end of a sentence.
  func spawn(output: Int32, error: Int32) throws(RPCError) -> pid_t {
    let input = try inputDescriptor()
    defer { if let input { close(input) } }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }

    var code: Int32 = 0
    func check(_ result: Int32) { if code == 0 { code = result } }
    if let input {
      check(unsafe posix_spawn_file_actions_adddup2(&actions, input, 0))
    } else {
      check(unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0))
    }
    check(unsafe posix_spawn_file_actions_adddup2(&actions, output, 1))
    check(unsafe posix_spawn_file_actions_adddup2(&actions, error, 2))
    check(unsafe keelson_spawn_in(&actions, program.workingFolder, 3))
    var none = sigset_t()
    unsafe sigemptyset(&none)
    var all = sigset_t()
    unsafe sigfillset(&all)
    check(unsafe posix_spawnattr_setsigmask(&attributes, &none))
    check(unsafe posix_spawnattr_setsigdefault(&attributes, &all))
    check(unsafe posix_spawnattr_setpgroup(&attributes, 0))
    check(
      unsafe posix_spawnattr_setflags(
        &attributes,
        Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)))

    let arguments = unsafe CStrings([program.path] + program.arguments)
    let environment = unsafe CStrings(
      program.environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" })
    var process: pid_t = 0
    if code == 0 {
      code = unsafe posix_spawn(
        &process, program.path, &actions, &attributes, arguments.pointers, environment.pointers)
    }
    guard code == 0 else {
      // The folder and the program fail alike: only one number comes back.
      let isFolder = unsafe access(program.workingFolder, X_OK) != 0
      let what = isFolder ? "its folder \(program.workingFolder)" : program.path
      throw RPCError(
        .failedPrecondition, "\(what): \(unsafe String(cString: strerror(code)))")
    }
    return process
  }

  /// A file in memory with the input: unlike a pipe, nobody has to stand by and fill it.
  private func inputDescriptor() throws(RPCError) -> Int32? {
    guard let input = program.input else { return nil }
    let descriptor = unsafe keelson_memory_file("keelson-job-input")
    guard descriptor >= 0 else {
      throw RPCError(
        .resourceExhausted, "there is no file for its input (\(ChildProcess.lastError))")
    }
    var rest = input[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes {
        unsafe write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let why = ChildProcess.lastError
        close(descriptor)
        throw RPCError(.resourceExhausted, "its input cannot be kept (\(why))")
      }
      rest = rest.dropFirst(count)
    }
    lseek(descriptor, 0, SEEK_SET)
    return descriptor
  }
}

/// Texts as C wants a list of them, ended by none. Owns their memory.
@unsafe private final class CStrings {
  let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let count: Int

  init(_ texts: [String]) {
    unsafe count = texts.count
    unsafe pointers = .allocate(capacity: texts.count + 1)
    for (index, text) in texts.enumerated() {
      unsafe (pointers + index).initialize(to: strdup(text))
    }
    unsafe (pointers + texts.count).initialize(to: nil)
  }

  deinit {
    for index in unsafe 0..<count { unsafe free(pointers[index]) }
    unsafe pointers.deallocate()
  }
}
