import Foundation
import Testing

@testable import KeelsonTransport

@Suite(.timeLimit(.minutes(5)))
struct ServerListeningTests {
  private func temporaryPath() -> String {
    FileManager.default.temporaryDirectory.appendingPathComponent(
      "k-\(UUID().uuidString.prefix(8)).sock"
    ).path
  }

  @Test func aPortInUseIsAClearError() async throws {
    let first = try await TestServer()
    let error = await #expect(throws: SocketError.self) {
      _ = try await TestServer { $0.addresses = [first.address] }
    }
    #expect(error?.code == .addressInUse)
    #expect(error?.message.contains(first.address.description) == true)
    await first.finish()
  }

  @Test func aUnixSocketServesAndGoesAway() async throws {
    let path = temporaryPath()
    let address = try ListenAddress(parsing: "unix:\(path)")
    let server = try await TestServer { $0.addresses = [address] }
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions]
    #expect((mode as? NSNumber)?.intValue == 0o600)
    let client = try await RawClient(address)
    let result = await client.call("/test.T/Peer", [[]]).result()
    #expect(String(decoding: result.messages[0], as: UTF8.self).hasPrefix("unix:\(path) "))
    let error = await #expect(throws: SocketError.self) {
      _ = try await TestServer { $0.addresses = [address] }
    }
    #expect(error?.code == .addressInUse)
    await client.close()
    await server.finish()
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test func aStaleUnixSocketIsReplaced() async throws {
    let path = temporaryPath()
    let address = try ListenAddress(parsing: "unix:\(path)")
    // Bound, never listened on, and closed: as a killed process leaves it.
    let stale = try Socket.open(address.address)
    let status = address.address.withSockaddr { bind(stale, $0, $1) }
    #expect(status == 0)
    close(stale)
    let server = try await TestServer { $0.addresses = [address] }
    await server.finish()
  }

  @Test func aFileThatIsNoSocketStays() async throws {
    let path = temporaryPath()
    try Data("mine".utf8).write(to: URL(fileURLWithPath: path))
    await #expect(throws: SocketError.self) {
      _ = try await TestServer {
        $0.addresses = [try! ListenAddress(parsing: "unix:\(path)")]
      }
    }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "mine")
    try FileManager.default.removeItem(atPath: path)
  }

  /// What a server says to bytes that are no HTTP/2, until it closes.
  private func answer(to text: String, from address: ListenAddress) async throws -> String {
    let loop = Loop()
    loop.start()
    let reader = RawReader()
    await loop.call {
      reader.socket = try? Socket.connect(to: address.address, on: loop) { _ in
        reader.begin(Array(text.utf8))
      }
    }
    await reader.ended.wait()
    let answer = await loop.call { reader.received }
    await loop.stop()
    return String(decoding: answer, as: UTF8.self)
  }

  @Test func anHTTP1ClientIsToldWhy() async throws {
    let server = try await TestServer()
    let answer = try await answer(
      to: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", from: server.address)
    #expect(answer.hasPrefix("HTTP/1.1 505 "))
    #expect(answer.contains("gRPC"))
    await server.finish()
  }

  @Test func garbageEndsTheConnectionOnly() async throws {
    let server = try await TestServer()
    _ = try await answer(to: String(repeating: "\u{1}garbage", count: 100), from: server.address)
    let client = try await RawClient(server.address)
    #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
    await client.close()
    await server.finish()
  }

  @Test func aSilentPeerIsCutOff() async throws {
    let server = try await TestServer { $0.http2.prefaceTimeout = .milliseconds(20) }
    _ = try await answer(to: "PRI", from: server.address)
    await server.finish()
  }
}

/// Writes some bytes to a socket and reads until its end.
///
/// `@unchecked Sendable`: touched on the loop only.
private final class RawReader: ByteStreamObserver, @unchecked Sendable {
  var socket: Socket?
  var received: [UInt8] = []
  let ended = Ended()

  func begin(_ bytes: [UInt8]) {
    socket?.start(observer: self)
    _ = bytes.withUnsafeBytes { socket?.write($0) }
  }

  func byteStreamIsReadable() {
    var room = [UInt8](repeating: 0, count: 4096)
    let result = room.withUnsafeMutableBytes { socket?.read(into: $0) }
    switch result {
    case .bytes(let count): received += room[..<count]
    case .wouldBlock: break
    default:
      socket?.close()
      ended.signal()
    }
  }

  func byteStreamIsWritable() {}
}
