/// Whether bytes are well-formed UTF-8 (The Unicode Standard, table 3-7).
func isUTF8(_ start: UnsafeRawPointer, _ end: UnsafeRawPointer) -> Bool {
  var position = unsafe start
  while unsafe position < end {
    // Most text is ASCII: eight bytes at a time.
    while unsafe end - position >= 8 {
      guard unsafe position.loadUnaligned(as: UInt64.self) & 0x8080_8080_8080_8080 == 0 else {
        break
      }
      unsafe position += 8
    }
    guard unsafe position < end else { break }
    let first = unsafe position.load(as: UInt8.self)
    unsafe position += 1
    if first < 0x80 { continue }
    let trailing: Int
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch first {
    case 0xC2...0xDF: trailing = 1
    case 0xE0:
      trailing = 2
      second = 0xA0...0xBF
    case 0xED:
      trailing = 2
      second = 0x80...0x9F
    case 0xE1...0xEF: trailing = 2
    case 0xF0:
      trailing = 3
      second = 0x90...0xBF
    case 0xF4:
      trailing = 3
      second = 0x80...0x8F
    case 0xF1...0xF3: trailing = 3
    default: return false
    }
    guard unsafe end - position >= trailing, unsafe second.contains(position.load(as: UInt8.self))
    else { return false }
    for index in 1..<max(trailing, 1) {
      guard unsafe position.load(fromByteOffset: index, as: UInt8.self) & 0xC0 == 0x80 else {
        return false
      }
    }
    unsafe position += trailing
  }
  return true
}
