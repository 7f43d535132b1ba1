internal import CProtobufC

#if canImport(Glibc)
  internal import Glibc
#endif

/// Memory for one encoding or decoding: handed out piece by piece, given back all at once.
///
/// The first piece lies on the stack, which is all that small messages need; further blocks come
/// from malloc, each twice the size of the one before. Valid only within ``withArena(limit:_:)``.
@safe
package struct Arena {
  /// What the handle points to; it stays in place while the arena lives.
  @unsafe struct State {
    /// The callbacks protobuf-c allocates with.
    var allocator: ProtobufCAllocator
    var next: UnsafeMutableRawPointer
    var end: UnsafeMutableRawPointer
    /// The newest block from malloc; its first word points to the one before.
    var blocks: UnsafeMutableRawPointer?
    var nextBlockBytes: Int
    /// How many more bytes may be taken from malloc.
    var remainingBytes: Int
  }

  private let state: UnsafeMutablePointer<State>

  /// What is on the stack, and what each block from malloc begins with.
  private static let stackBytes = 1024
  private static let headerBytes = 16
  private static let firstBlockBytes = 8 << 10
  private static let largestBlockBytes = 4 << 20

  /// Runs a body with an arena and frees all of it afterwards.
  ///
  /// - Parameter limit: how many bytes may come from malloc; past it protobuf-c's allocations
  ///   fail, while those of ``allocate(bytes:)`` trap.
  static func withArena<Result>(limit: Int, _ body: (Arena) -> Result) -> Result {
    unsafe withUnsafeTemporaryAllocation(byteCount: stackBytes, alignment: 16) { buffer in
      // A temporary allocation of more than no bytes has an address.
      guard let start = buffer.baseAddress else { preconditionFailure() }
      var state = unsafe State(
        allocator: ProtobufCAllocator(), next: start, end: start + stackBytes, blocks: nil,
        nextBlockBytes: firstBlockBytes, remainingBytes: limit)
      return unsafe withUnsafeMutablePointer(to: &state) { state in
        unsafe state.pointee.allocator = ProtobufCAllocator(
          alloc: { data, bytes in
            guard let data = unsafe data else { return nil }
            return unsafe Arena.take(bytes, from: data.assumingMemoryBound(to: State.self))
          },
          free: { _, _ in },
          allocator_data: UnsafeMutableRawPointer(state))
        defer { unsafe Arena.freeBlocks(of: state) }
        return body(unsafe Arena(state: state))
      }
    }
  }

  private init(state: UnsafeMutablePointer<State>) {
    unsafe self.state = state
  }

  /// The allocator to hand to protobuf-c. It frees nothing.
  var allocator: UnsafeMutablePointer<ProtobufCAllocator> {
    unsafe UnsafeMutableRawPointer(state).assumingMemoryBound(to: ProtobufCAllocator.self)
  }

  /// Uninitialised memory, aligned for any C type.
  package func allocate(bytes: Int) -> UnsafeMutableRawPointer {
    guard let memory = unsafe Arena.take(bytes, from: state) else {
      preconditionFailure("out of memory while encoding a message")
    }
    return unsafe memory
  }

  private static func take(_ bytes: Int, from state: UnsafeMutablePointer<State>)
    -> UnsafeMutableRawPointer?
  {
    guard bytes >= 0, bytes <= Int.max - 64 else { return nil }
    let size = (bytes + 15) & ~15
    if unsafe state.pointee.end - state.pointee.next < size {
      guard unsafe addBlock(holding: size, to: state) else { return nil }
    }
    let memory = unsafe state.pointee.next
    unsafe state.pointee.next = memory + size
    return unsafe memory
  }

  private static func addBlock(holding size: Int, to state: UnsafeMutablePointer<State>) -> Bool {
    let bytes = unsafe max(size + headerBytes, state.pointee.nextBlockBytes)
    guard unsafe bytes <= state.pointee.remainingBytes, let block = unsafe malloc(bytes) else {
      return false
    }
    unsafe state.pointee.remainingBytes -= bytes
    unsafe state.pointee.nextBlockBytes = min(bytes * 2, largestBlockBytes)
    unsafe block.storeBytes(of: state.pointee.blocks, as: UnsafeMutableRawPointer?.self)
    unsafe state.pointee.blocks = block
    unsafe state.pointee.next = block + headerBytes
    unsafe state.pointee.end = block + bytes
    return true
  }

  private static func freeBlocks(of state: UnsafeMutablePointer<State>) {
    while let block = unsafe state.pointee.blocks {
      unsafe state.pointee.blocks = block.load(as: UnsafeMutableRawPointer?.self)
      unsafe free(block)
    }
  }
}
