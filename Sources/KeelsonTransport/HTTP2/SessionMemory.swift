import CNghttp2
import Glibc

/// The memory of all nghttp2 sessions of one loop: small blocks that were freed are kept for the
/// next stream, since each takes and frees the same few. Confined to the loop.
@safe final class SessionMemory {
  /// What stands ahead of each block: how many bytes it has. Keeps the alignment of malloc.
  private static let headerBytes = 16
  /// Blocks up to this size are kept, in lists by size.
  private static let largestKeptBytes = 1_536
  private static let stepBytes = 64
  /// No more than this is kept; the rest goes back to malloc.
  private static let maximumKeptBytes = 1 << 20

  /// What nghttp2 is given: it stays in place, and is reached without counting references.
  @unsafe struct State {
    /// The first free block of each size; each begins with a pointer to the next.
    let lists: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    var keptBytes = 0
  }

  private let state: UnsafeMutablePointer<State>

  init() {
    let count = Self.largestKeptBytes / Self.stepBytes
    let lists = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(capacity: count)
    unsafe lists.initialize(repeating: nil, count: count)
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(to: State(lists: lists))
  }

  /// After the last session has gone.
  deinit {
    let lists = unsafe state.pointee.lists
    for index in 0..<Self.largestKeptBytes / Self.stepBytes {
      while let block = unsafe lists[index] {
        unsafe lists[index] = block.load(as: UnsafeMutableRawPointer?.self)
        unsafe Glibc.free(block - Self.headerBytes)
      }
    }
    unsafe lists.deallocate()
    unsafe state.deallocate()
  }

  /// The functions for a new session. They are valid as long as this object.
  var functions: nghttp2_mem {
    unsafe nghttp2_mem(
      mem_user_data: UnsafeMutableRawPointer(state),
      malloc: { bytes, data in unsafe SessionMemory.take(bytes, SessionMemory.state(data)) },
      free: { block, data in unsafe SessionMemory.give(block, SessionMemory.state(data)) },
      calloc: { count, bytes, data in
        let (total, overflows) = count.multipliedReportingOverflow(by: bytes)
        guard !overflows, let block = unsafe SessionMemory.take(total, SessionMemory.state(data))
        else { return nil }
        unsafe memset(block, 0, total)
        return unsafe block
      },
      realloc: { block, bytes, data in
        unsafe SessionMemory.resize(block, bytes, SessionMemory.state(data))
      })
  }

  private static func state(_ data: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<State> {
    guard let data = unsafe data else { preconditionFailure("nghttp2 hands back what it got") }
    return unsafe data.assumingMemoryBound(to: State.self)
  }

  private static func take(_ bytes: Int, _ state: UnsafeMutablePointer<State>)
    -> UnsafeMutableRawPointer?
  {
    guard bytes <= largestKeptBytes else {
      guard bytes <= Int.max - headerBytes else { return nil }
      return unsafe allocate(bytes)
    }
    let index = max(bytes - 1, 0) / stepBytes
    let size = (index + 1) * stepBytes
    guard let block = unsafe state.pointee.lists[index] else { return unsafe allocate(size) }
    unsafe state.pointee.lists[index] = block.load(as: UnsafeMutableRawPointer?.self)
    unsafe state.pointee.keptBytes -= size
    return unsafe block
  }

  private static func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
    guard let memory = unsafe Glibc.malloc(bytes + headerBytes) else { return nil }
    unsafe memory.storeBytes(of: bytes, as: Int.self)
    return unsafe memory + headerBytes
  }

  private static func give(
    _ block: UnsafeMutableRawPointer?, _ state: UnsafeMutablePointer<State>
  ) {
    guard let block = unsafe block else { return }
    let memory = unsafe block - headerBytes
    let size = unsafe memory.load(as: Int.self)
    guard size <= largestKeptBytes,
      unsafe state.pointee.keptBytes + size <= maximumKeptBytes
    else { return unsafe Glibc.free(memory) }
    let index = size / stepBytes - 1
    unsafe block.storeBytes(of: state.pointee.lists[index], as: UnsafeMutableRawPointer?.self)
    unsafe state.pointee.lists[index] = block
    unsafe state.pointee.keptBytes += size
  }

  private static func resize(
    _ block: UnsafeMutableRawPointer?, _ bytes: Int, _ state: UnsafeMutablePointer<State>
  ) -> UnsafeMutableRawPointer? {
    guard let block = unsafe block else { return unsafe take(bytes, state) }
    let size = unsafe (block - headerBytes).load(as: Int.self)
    if bytes <= size { return unsafe block }
    guard let larger = unsafe take(bytes, state) else { return nil }
    unsafe larger.copyMemory(from: block, byteCount: size)
    unsafe give(block, state)
    return unsafe larger
  }
}
