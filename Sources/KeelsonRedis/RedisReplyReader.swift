import CHiredis

/// Makes replies of bytes, by hiredis. Confined to its connection's loop.
@safe final class RedisReplyReader {
  /// Arrays that are not complete yet, the outermost first.
  private struct Frame {
    var missing: Int
    var elements: [RedisReply] = []
  }

  private let reader: UnsafeMutablePointer<redisReader>
  private let functions: UnsafeMutablePointer<redisReplyObjectFunctions>
  private var frames: [Frame] = []
  private var complete: RedisReply?

  init() {
    unsafe functions = .allocate(capacity: 1)
    // What hiredis gets back stands for the reply that is put together here; it only asks whether it
    // is nil, which means out of memory. The pointer lives as long as the reader.
    unsafe functions.initialize(
      to: redisReplyObjectFunctions(
        createString: { task, bytes, count in
          unsafe RedisReplyReader.add(task) {
            let buffer = unsafe UnsafeRawBufferPointer(start: bytes, count: count)
            if unsafe task?.pointee.type == REDIS_REPLY_ERROR {
              return unsafe .error(String(decoding: buffer, as: UTF8.self))
            }
            return unsafe .bytes([UInt8](buffer))
          }
        },
        createArray: { task, count in
          guard let data = unsafe task?.pointee.privdata else { return nil }
          unsafe Unmanaged<RedisReplyReader>.fromOpaque(data).takeUnretainedValue()
            .begin(count: Int(count))
          return unsafe data
        },
        createInteger: { task, number in unsafe RedisReplyReader.add(task) { .integer(number) } },
        createNil: { task in unsafe RedisReplyReader.add(task) { .null } },
        freeObject: { _ in }))
    guard let reader = unsafe redisReaderCreateWithFunctions(functions) else {
      // Out of memory: nothing in this process would go on.
      preconditionFailure("No memory for a reader of Redis's replies.")
    }
    unsafe self.reader = unsafe reader
    unsafe reader.pointee.privdata = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit {
    unsafe redisReaderFree(reader)
    unsafe functions.deallocate()
  }

  private static func add(
    _ task: UnsafePointer<redisReadTask>?, _ make: () -> RedisReply
  ) -> UnsafeMutableRawPointer? {
    guard let data = unsafe task?.pointee.privdata else { return nil }
    unsafe Unmanaged<RedisReplyReader>.fromOpaque(data).takeUnretainedValue().add(make())
    return unsafe data
  }

  private func begin(count: Int) {
    // An empty array is complete; hiredis tells of no elements.
    if count == 0 { add(.array([])) } else { frames.append(Frame(missing: count)) }
  }

  private func add(_ reply: RedisReply) {
    var reply = reply
    while var frame = frames.popLast() {
      frame.elements.append(reply)
      frame.missing -= 1
      if frame.missing > 0 {
        frames.append(frame)
        return
      }
      reply = .array(frame.elements)
    }
    complete = reply
  }

  /// Takes in bytes, and hands out the replies that are complete by them.
  ///
  /// - Throws: ``RedisError`` when this is not what Redis says; the reader is of no more use.
  func read(_ bytes: UnsafeRawBufferPointer, _ body: (RedisReply) -> Void) throws(RedisError) {
    let base = unsafe bytes.assumingMemoryBound(to: CChar.self).baseAddress
    var status = unsafe redisReaderFeed(reader, base, bytes.count)
    while status == REDIS_OK {
      var mark: UnsafeMutableRawPointer?
      status = unsafe redisReaderGetReply(reader, &mark)
      guard status == REDIS_OK else { break }
      guard let reply = complete else { return }
      complete = nil
      body(reply)
    }
    throw RedisError(
      .unreachable, "What answers there does not speak as Redis does; is the port right?")
  }
}
