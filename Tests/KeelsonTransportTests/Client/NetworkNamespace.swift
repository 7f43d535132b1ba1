import Foundation
import Glibc
import Synchronization

/// A network of its own within this machine, with a cable to ours that can be cut: from then on
/// packets vanish, and neither side's operating system hears why.
struct NetworkNamespace {
  /// Our end of the cable is .1, the other .2, of a network that nobody else here has.
  let address: String
  private let name: String

  private static let count = Atomic<Int>(0)

  struct Failure: Error {
    let command: String
  }

  /// Whether this process may make one: root may, outside of most containers.
  static let isPermitted: Bool = {
    guard geteuid() == 0, let namespace = try? NetworkNamespace() else { return false }
    namespace.remove()
    return true
  }()

  init() throws {
    // A cable that was taken away may still be there for a moment: each has a name of its own.
    name = "kl\(getpid())x\(Self.count.wrappingAdd(1, ordering: .relaxed).newValue)"
    let network = "10.231.\(getpid() % 250)"
    address = "\(network).2"
    try Self.ip("netns add \(name)")
    do {
      try Self.ip("link add \(name)a type veth peer name \(name)b netns \(name)")
      try Self.ip("addr add \(network).1/24 dev \(name)a")
      try Self.ip("link set \(name)a up")
      try Self.ip("-n \(name) addr add \(address)/24 dev \(name)b")
      try Self.ip("-n \(name) link set \(name)b up")
    } catch {
      remove()
      throw error
    }
  }

  /// Nothing that the other side sends arrives any more, not even that it has received something.
  func cut() throws {
    try Self.ip("-n \(name) route replace blackhole \(address.dropLast(2)).1/32")
  }

  /// Moves the calling thread into the namespace: sockets that it opens from now on are there.
  func enter() -> Bool {
    let fileDescriptor = open("/run/netns/\(name)", O_RDONLY | O_CLOEXEC)
    guard fileDescriptor >= 0 else { return false }
    defer { close(fileDescriptor) }
    // sched.h has both for GNU sources only, so Swift does not see them.
    guard let symbol = dlsym(UnsafeMutableRawPointer(bitPattern: 0), "setns") else { return false }
    let setns = unsafeBitCast(symbol, to: (@convention(c) (Int32, Int32) -> Int32).self)
    let newNetwork: Int32 = 0x4000_0000
    return setns(fileDescriptor, newNetwork) == 0
  }

  func remove() {
    try? Self.ip("netns del \(name)")
  }

  private static func ip(_ arguments: String) throws {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = ["ip"] + arguments.split(separator: " ").map(String.init)
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure(command: "ip \(arguments)") }
  }
}
