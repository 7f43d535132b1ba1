/// Bytes that wait to be written: appended at the end, taken at the front.
@safe final class SendBuffer {
  @exclusivity(unchecked) private var memory: UnsafeMutableRawBufferPointer
  @safe @exclusivity(unchecked) private var start = 0
  @safe @exclusivity(unchecked) private var end = 0

  init() {
    unsafe memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  }

  deinit {
    unsafe memory.deallocate()
  }

  var count: Int { end - start }
  var isEmpty: Bool { start == end }

  /// What has not been taken; valid until the buffer changes.
  var bytes: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(rebasing: memory[start..<end]) }

  func append(_ source: UnsafeRawBufferPointer) {
    guard source.count > 0 else { return }
    unsafe makeRoom(source.count).copyMemory(from: source)
    end += source.count
  }

  /// Has `fill` write exactly `count` bytes at the end.
  func append(count: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
    unsafe fill(makeRoom(count))
    end += count
  }

  /// Takes bytes away from the front.
  func drop(_ count: Int) {
    start += count
    if start == end { removeAll() }
  }

  func removeAll() {
    start = 0
    end = 0
  }

  private func makeRoom(_ count: Int) -> UnsafeMutableRawBufferPointer {
    if unsafe memory.count - end < count {
      let needed = self.count + count
      let larger = unsafe UnsafeMutableRawBufferPointer.allocate(
        byteCount: max(needed, min(memory.count * 2, memory.count + 1 << 20), 4096), alignment: 16)
      unsafe larger.copyMemory(from: bytes)
      unsafe memory.deallocate()
      unsafe memory = larger
      end -= start
      start = 0
    }
    return unsafe UnsafeMutableRawBufferPointer(rebasing: memory[end..<end + count])
  }
}
