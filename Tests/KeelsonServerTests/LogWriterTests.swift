import Foundation
import KeelsonCore
import Testing

@testable import KeelsonServer

@Suite(.timeLimit(.minutes(5))) struct LogWriterTests {
  @Test func aReaderThatIsSlowGetsEveryLine() async throws {
    let pipe = Pipe()
    let writing = pipe.fileHandleForWriting
    // A full pipe then answers EAGAIN, as one does that another process has set so.
    _ = fcntl(writing.fileDescriptor, F_SETFL, O_NONBLOCK)
    let log = LogWriter(descriptor: writing.fileDescriptor)
    let logger = log.logger(component: "test", minimum: .info)
    let count = 5_000
    for number in 0..<count { logger.log(.info, "Line \(number).") }
    let flushed = Thread {
      log.flush()
      try? writing.close()
    }
    flushed.start()
    let text = try #require(try pipe.fileHandleForReading.readToEnd())
    #expect(text.count { $0 == 0x0A } == count)
  }

  @Test func linesThatCannotBeWrittenAreCounted() throws {
    let descriptor = open("/dev/full", O_WRONLY)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    let log = LogWriter(descriptor: descriptor)
    let logger = log.logger(component: "test", minimum: .info)
    for number in 0..<3 {
      logger.log(.info, "Line \(number).")
      log.flush()
    }
    let pipe = Pipe()
    dup2(pipe.fileHandleForWriting.fileDescriptor, descriptor)
    logger.log(.info, "Room again.")
    log.flush()
    dup2(open("/dev/null", O_WRONLY), descriptor)
    try pipe.fileHandleForWriting.close()
    let text = String(
      decoding: try #require(try pipe.fileHandleForReading.readToEnd()), as: UTF8.self)
    let lines = text.split(separator: "\n")
    #expect(lines.count == 2)
    #expect(lines.first?.contains("Room again.") == true)
    #expect(lines.last == "keelson: 3 log lines were dropped.")
  }
}
