extension TimeZoneRules {
  /// Why the bytes are not a zone's file.
  package struct InvalidFile: Error, Hashable, CustomStringConvertible {
    package var description: String
  }

  /// Reads a file of the IANA time zone database in its compiled form: RFC 9636, version 2 or
  /// later, whose first block, of 32-bit times, is passed over.
  ///
  /// - Throws: ``InvalidFile`` for a file of another form, of version 1, or with leap seconds.
  package init(file bytes: [UInt8]) throws(InvalidFile) {
    var reader = Reader(bytes: bytes)
    let old = try reader.header()
    guard old.version >= UInt8(ascii: "2") else {
      throw InvalidFile(description: "It is of version 1, which ends in 2037.")
    }
    try reader.skip(old.bytes(timeSize: 4))
    let counts = try reader.header()
    guard counts.leapSeconds == 0 else {
      throw InvalidFile(description: "It counts leap seconds, as the files below 'right' do.")
    }
    // Ahead of room for what a damaged header promises.
    try reader.need(counts.bytes(timeSize: 8))
    var moments: [Int] = []
    moments.reserveCapacity(counts.transitions)
    for _ in 0..<counts.transitions { moments.append(Int(try reader.integer(Int64.self))) }
    var types: [Int] = []
    for _ in 0..<counts.transitions { types.append(Int(try reader.integer(UInt8.self))) }
    var offsets: [Int] = []
    for _ in 0..<counts.types {
      offsets.append(Int(try reader.integer(Int32.self)))
      // Whether it is daylight saving time, and the place of its abbreviation.
      try reader.skip(2)
    }
    try reader.skip(counts.abbreviationBytes + counts.standardFlags + counts.utcFlags)
    let rule = try reader.rule()

    guard let first = offsets.first, types.allSatisfy({ $0 < offsets.count }),
      offsets.allSatisfy({ abs($0) <= Self.maximumOffsetSeconds })
    else { throw InvalidFile(description: "Its offsets are missing or out of range.") }
    // A file may begin at "the Big Bang", long before any clock; RFC 9636 has it at -2^59.
    guard zip(moments, moments.dropFirst()).allSatisfy({ $0 < $1 }),
      moments.allSatisfy({ abs($0) <= 1 << 59 })
    else { throw InvalidFile(description: "Its transitions are not in order of time.") }
    self.init(
      firstOffsetSeconds: first,
      transitions: zip(moments, types).map {
        Transition(moment: $0, offsetSeconds: offsets[$1])
      },
      rule: rule)
  }

  /// What a header says of the block behind it.
  private struct Counts {
    var version: UInt8
    var utcFlags: Int
    var standardFlags: Int
    var leapSeconds: Int
    var transitions: Int
    var types: Int
    var abbreviationBytes: Int

    func bytes(timeSize: Int) -> Int {
      transitions * (timeSize + 1) + types * 6 + abbreviationBytes + leapSeconds * (timeSize + 4)
        + standardFlags + utcFlags
    }
  }

  private struct Reader {
    let bytes: [UInt8]
    var position = 0

    func need(_ count: Int) throws(InvalidFile) {
      guard count <= bytes.count - position else {
        throw InvalidFile(description: "It ends too early.")
      }
    }

    mutating func skip(_ count: Int) throws(InvalidFile) {
      try need(count)
      position += count
    }

    mutating func integer<Value: FixedWidthInteger>(
      _: Value.Type
    ) throws(InvalidFile) -> Value {
      let start = position
      try skip(MemoryLayout<Value>.size)
      return bytes[start..<position].reduce(0) { $0 << 8 | Value(truncatingIfNeeded: $1) }
    }

    mutating func header() throws(InvalidFile) -> Counts {
      let start = position
      try skip(4)
      guard Array("TZif".utf8) == Array(bytes[start..<position]) else {
        throw InvalidFile(description: "It does not begin as a time zone file does.")
      }
      let version = try integer(UInt8.self)
      try skip(15)
      var counts: [Int] = []
      for _ in 0..<6 { counts.append(Int(try integer(UInt32.self))) }
      return Counts(
        version: version, utcFlags: counts[0], standardFlags: counts[1], leapSeconds: counts[2],
        transitions: counts[3], types: counts[4], abbreviationBytes: counts[5])
    }

    /// The line at the end; nil when it is empty.
    mutating func rule() throws(InvalidFile) -> PosixTimeZoneRule? {
      let line = bytes[position...]
      guard line.first == UInt8(ascii: "\n"),
        let end = line.dropFirst().firstIndex(of: UInt8(ascii: "\n"))
      else { throw InvalidFile(description: "The rule at its end is missing.") }
      let text = String(decoding: line[(position + 1)..<end], as: UTF8.self)
      guard !text.isEmpty else { return nil }
      guard let rule = PosixTimeZoneRule(text) else {
        throw InvalidFile(description: "The rule at its end cannot be read: \(text)")
      }
      return rule
    }
  }
}
