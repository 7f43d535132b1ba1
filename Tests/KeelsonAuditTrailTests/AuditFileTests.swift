import KeelsonCore
import KeelsonCrypto
import Testing

@testable import KeelsonAuditTrail

/// Exports and archives as files: what is written is read back, and whatever is changed in them is
/// found.
@Suite struct AuditFileTests {
  /// A chain of entries that use every field.
  static func entries(_ count: Int, from chain: AuditChain = AuditChain()) -> [AuditEntry] {
    var chain = chain
    return (1...count).map { number in
      var entry = AuditEntry(
        id: "id-\(chain.sequence + 1)",
        time: UnixTime(microseconds: 1_700_000_000_000_000 + Int64(number)),
        revision: Int64(number % 3), recorder: "checkout ipv4:127.0.0.1:5", actor: "anna",
        action: "thing.changed", entityType: "thing", entityID: "a \"quoted\", one\nwith lines",
        category: "change", outcome: .success, correlationID: "c", peer: "unix:/a", userAgent: "é")
      if number % 2 == 0 {
        entry.before = #"{"a": 1}"#
        entry.after = "{\"text\": \"\\u0007\u{1F600}\"}"
        entry.attributes = "{}"
        entry.occurTime = UnixTime(microseconds: -5)
      }
      if number % 3 == 0 {
        entry.subjectKeyID = "key"
        entry.sealed = [0, 1, 254, 255]
      }
      return chain.append(entry)
    }
  }

  static func file(
    _ entries: [AuditEntry], _ format: AuditFileFormat = .ndjson, isFiltered: Bool = false,
    hasTrailer: Bool = true
  ) -> [UInt8] {
    var writer = AuditFileWriter(
      format,
      AuditFileHeader(
        isFiltered: isFiltered, afterSequence: (entries.first?.sequence ?? 1) - 1,
        time: UnixTime(microseconds: 0)))
    for entry in entries { writer.add(entry) }
    if hasTrailer { writer.finish() }
    return writer.bytes
  }

  static func verify(
    _ bytes: [UInt8], pieces: Int = 1_000, isFiltered: Bool = false,
    checkpoints: [AuditCheckpoint] = []
  ) throws -> AuditFileVerifier.Report {
    var verifier = AuditFileVerifier(isFiltered: isFiltered, checkpoints: checkpoints)
    var rest = bytes[...]
    while !rest.isEmpty {
      try verifier.read(Array(rest.prefix(pieces)))
      rest = rest.dropFirst(pieces)
    }
    return try verifier.finish()
  }

  @Test(arguments: AuditFileFormat.allCases, [1, 7, 100_000])
  func whatIsWrittenIsReadBack(_ format: AuditFileFormat, pieces: Int) throws {
    let entries = Self.entries(12)
    var reader = AuditFileReader()
    var read: [AuditEntry] = []
    var rest = Self.file(entries, format)[...]
    while !rest.isEmpty {
      try reader.read(Array(rest.prefix(pieces))) { item, _ in
        if case .entry(let entry) = item { read.append(entry) }
      }
      rest = rest.dropFirst(pieces)
    }
    try reader.finish()
    #expect(read == entries)
  }

  @Test(arguments: AuditFileFormat.allCases)
  func aWholeFileFits(_ format: AuditFileFormat) throws {
    let entries = Self.entries(
      9, from: AuditChain(sequence: 40, hash: .init(repeating: 7, count: 32)))
    let report = try Self.verify(Self.file(entries, format))
    #expect(report.failure == nil)
    #expect(report.entries == 9)
    #expect(report.firstSequence == 41)
    #expect(report.lastSequence == 49)
    #expect(report.lastHash == entries.last?.hash)
  }

  @Test(arguments: AuditFileFormat.allCases, AuditField.all.map(\.name))
  func aChangedFieldIsFound(_ format: AuditFileFormat, field name: String) throws {
    var entries = Self.entries(6)
    let field = try #require(AuditField.byName[name])
    let old = field.text(entries[5])
    let new =
      switch name {
      case "sequence": "8"
      case "time", "occur_time": "2020-01-01T00:00:00.000000Z"
      case "revision": "77"
      case "outcome": "denied"
      case "sealed", "hash", "previous_hash": Hexadecimal.text([UInt8](repeating: 1, count: 32))
      default: "other"
      }
    #expect(field.set(&entries[5], new))
    #expect(field.text(entries[5]) != old)
    let report = try Self.verify(Self.file(entries, format))
    #expect(report.failure != nil)
    #expect(report.entries == 5)
  }

  @Test(arguments: AuditFileFormat.allCases, 0..<6)
  func aDeletedEntryIsFound(_ format: AuditFileFormat, index: Int) throws {
    var entries = Self.entries(7)
    entries.remove(at: index)
    let report = try Self.verify(Self.file(entries, format))
    // A file may begin later; what is missing at its beginning a reader sees by its first number.
    if index == 0 {
      #expect(report.firstSequence == 2)
    } else {
      #expect(report.failure?.kind == .missing)
      #expect(report.lastSequence == Int64(index))
    }
  }

  @Test(arguments: AuditFileFormat.allCases)
  func swappedEntriesAreFound(_ format: AuditFileFormat) throws {
    var entries = Self.entries(6)
    entries.swapAt(2, 3)
    let report = try Self.verify(Self.file(entries, format))
    #expect(report.failure?.sequence == 4)
    // With the numbers made to fit as well.
    (entries[2].sequence, entries[3].sequence) = (3, 4)
    #expect(try Self.verify(Self.file(entries, format)).failure?.sequence == 3)
    // And with the hashes made to fit: then the next one does not follow.
    entries[2].previousHash = entries[1].hash
    entries[2].hash = entries[2].computedHash
    entries[3].previousHash = entries[2].hash
    entries[3].hash = entries[3].computedHash
    #expect(try Self.verify(Self.file(entries, format)).failure?.kind == .link)
  }

  @Test func aTailCutAfterACheckpointIsFound() throws {
    let entries = Self.entries(10)
    let key = try SigningKey.make()
    let checkpoint = try AuditCheckpoint(
      of: AuditChain(sequence: 8, hash: entries[7].hash), at: UnixTime(microseconds: 1), after: nil,
      signedBy: key)
    for format in AuditFileFormat.allCases {
      let whole = try Self.verify(Self.file(entries, format), checkpoints: [checkpoint])
      #expect(whole.failure == nil)
      #expect(whole.checkpoints == 1)
      let cut = Array(entries.prefix(7))
      #expect(try Self.verify(Self.file(cut, format)).failure == nil, "nothing else would tell")
      let report = try Self.verify(Self.file(cut, format), checkpoints: [checkpoint])
      #expect(report.failure?.kind == .missing)
      #expect(report.failure?.sequence == 8)
    }
  }

  @Test func aTrailThatWasRewrittenWholeIsFoundByACheckpoint() throws {
    let entries = Self.entries(10)
    let checkpoint = try AuditCheckpoint(
      of: AuditChain(sequence: 6, hash: entries[5].hash), at: UnixTime(microseconds: 1), after: nil,
      signedBy: .make())
    var chain = AuditChain()
    let forged = entries.map { entry in
      var entry = entry
      if entry.sequence == 3 { entry.actor = "bob" }
      return chain.append(entry)
    }
    #expect(try Self.verify(Self.file(forged)).failure == nil)
    let report = try Self.verify(Self.file(forged), checkpoints: [checkpoint])
    #expect(report.failure?.sequence == 6)
  }

  @Test func aFileWithoutItsLastLineIsFound() throws {
    let entries = Self.entries(5)
    let report = try Self.verify(Self.file(entries, hasTrailer: false))
    #expect(report.failure?.kind == .missing)
    // A trailer that was moved up.
    var bytes = Self.file(Array(entries.prefix(3)))
    bytes += Self.file(entries).split(separator: 0x0A)[4] + [0x0A]
    #expect(try Self.verify(bytes).failure?.kind == .order)
  }

  @Test func aFilteredFileProvesItsEntries() throws {
    var entries = Self.entries(10).filter { $0.sequence % 4 < 2 }
    for format in AuditFileFormat.allCases {
      let bytes = Self.file(entries, format, isFiltered: true)
      let report = try Self.verify(bytes, isFiltered: true)
      #expect(report.failure == nil)
      #expect(report.isFiltered)
      // What the file says of itself nobody signed.
      #expect(try Self.verify(bytes).failure?.kind == .missing)
    }
    // One that does not say that it is filtered.
    #expect(try Self.verify(Self.file(entries)).failure?.kind == .missing)
    entries[2].actor = "bob"
    let forged = try Self.verify(Self.file(entries, isFiltered: true), isFiltered: true)
    #expect(forged.failure?.kind == .content)
  }

  @Test func theLargestEntryThatMayBeRecordedIsReadBack() throws {
    var entry = Self.entries(1)[0]
    // More than 4 MiB in a line, as sealed states of 512 KiB each with many quotes have.
    entry.sealed = [UInt8](repeating: 7, count: 5 << 19)
    var chain = AuditChain()
    entry = chain.append(entry)
    let report = try Self.verify(Self.file([entry]), pieces: 64 << 10)
    #expect(report.failure == nil)
    #expect(report.entries == 1)
  }

  @Test func entriesThatAreMissingAtTheBeginningAreFound() throws {
    let entries = Self.entries(5)
    var writer = AuditFileWriter(
      .ndjson, AuditFileHeader(isFiltered: false, afterSequence: 0, time: entries[0].time))
    for entry in entries.dropFirst(2) { writer.add(entry) }
    writer.finish()
    let report = try Self.verify(writer.bytes)
    #expect(report.failure?.kind == .missing)
    #expect(report.failure?.sequence == 3)
  }

  @Test(arguments: [
    #""actor":"anna","actor":"bob""#, #""actor": "anna""#, #""actor":"\u0061nna""#,
    #""actor":"anna","note":"x""#, #""actor":7"#,
  ])
  func aLineThatNobodyWroteLikeThatIsRefused(_ text: String) throws {
    let line = String(decoding: Self.file(Self.entries(2)), as: UTF8.self)
      .replacing(#""actor":"anna""#, with: text, maxReplacements: 1)
    let report = try Self.verify(Array(line.utf8))
    #expect(report.failure?.kind == .unreadable)
    #expect(report.failure?.message.contains("Line 2") == true)
  }

  @Test(arguments: ["", "hello\n", "{\"a\":1}\n", "a,b,c\n", "\u{0}\u{1}\n"])
  func anotherFileIsRefused(_ text: String) {
    #expect(throws: AuditFileError.self) { try Self.verify(Array(text.utf8)) }
  }

  @Test(arguments: AuditFileFormat.allCases, [Int64.min, -1, 0, .max])
  func aNumberThatNoEntryHasIsRefused(_ format: AuditFileFormat, number: Int64) throws {
    var entry = Self.entries(1)[0]
    entry.sequence = number
    entry.hash = entry.computedHash
    for isFiltered in [false, true] {
      var writer = AuditFileWriter(
        format,
        AuditFileHeader(isFiltered: isFiltered, afterSequence: 0, time: UnixTime(microseconds: 0)))
      writer.add(entry)
      writer.finish()
      let report = try Self.verify(writer.bytes, isFiltered: isFiltered)
      #expect(report.failure?.kind == .unreadable)
      #expect(report.entries == 0)
    }
  }

  @Test func everyFlippedBitOfAFileIsFound() throws {
    let bytes = Self.file(Self.entries(2))
    let header = try #require(bytes.firstIndex(of: 0x0A))
    for index in (header + 1)..<bytes.count {
      var changed = bytes
      changed[index] ^= 1 << UInt8(index % 8)
      let report = try? Self.verify(changed)
      #expect(
        report == nil || report?.failure != nil,
        "byte \(index): \(String(decoding: changed, as: UTF8.self))")
    }
  }
}

@Suite struct GzipStreamTests {
  static func compressed(_ bytes: [UInt8]) throws -> [UInt8] {
    let compressor = try GzipCompressor()
    var result: [UInt8] = []
    var rest = bytes[...]
    while rest.count > 1_000 {
      result += compressor.compress(Array(rest.prefix(1_000)))
      rest = rest.dropFirst(1_000)
    }
    return result + compressor.compress(Array(rest), isLast: true)
  }

  static func decompressed(_ bytes: [UInt8], pieces: Int) throws -> [UInt8] {
    let decompressor = try GzipDecompressor()
    var result: [UInt8] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      try decompressor.decompress(Array(rest.prefix(pieces))) { result += $0 }
      rest = rest.dropFirst(pieces)
    }
    try decompressor.finish()
    return result
  }

  @Test(arguments: [0, 1, 999, 300_000], [1, 4_096])
  func whatIsCompressedComesBack(_ count: Int, pieces: Int) throws {
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
    let compressed = try Self.compressed(bytes)
    #expect(GzipDecompressor.isGzip(compressed))
    #expect(try Self.decompressed(compressed, pieces: pieces) == bytes)
  }

  @Test func aDamagedFileIsFound() throws {
    let compressed = try Self.compressed(Array(repeating: 5, count: 5_000) + [1, 2, 3])
    #expect(throws: AuditFileError.self) {
      try Self.decompressed(Array(compressed.dropLast(4)), pieces: 64)
    }
    #expect(throws: AuditFileError.self) { try Self.decompressed(compressed + [0], pieces: 64) }
    var changed = compressed
    changed[compressed.count / 2] ^= 0x10
    #expect(throws: AuditFileError.self) { try Self.decompressed(changed, pieces: 64) }
  }
}

@Suite struct AuditStatementTests {
  @Test func aCheckpointIsReadBackAndSigned() throws {
    let key = try SigningKey.make()
    let first = try AuditCheckpoint(
      of: AuditChain(), at: UnixTime(microseconds: 1_700_000_000_000_001), after: nil, signedBy: key
    )
    let second = try AuditCheckpoint(
      of: AuditChain(sequence: 5, hash: .init(repeating: 9, count: 32)), at: first.time,
      after: first, signedBy: key)
    #expect(second.count == 5)
    #expect(second.flaw(after: first) == nil)
    let read = try AuditCheckpoint(signedText: second.signedText, signature: second.signature)
    #expect(read == second)
    #expect(read.isSigned(by: key.verifyingKey))
    #expect(!read.isSigned(by: try SigningKey.make().verifyingKey))
    var changed = second
    changed.sequence = 4
    #expect(!changed.isSigned(by: key.verifyingKey))
    #expect(changed.flaw(after: first) != nil)
    #expect(throws: AuditFileError.self) {
      try AuditCheckpoint(signedText: second.signedText + "more x\n", signature: [])
    }
    #expect(throws: AuditFileError.self) { try AuditCheckpoint(signedText: "", signature: []) }
  }

  @Test func aManifestIsReadBackAndSigned() throws {
    let key = try SigningKey.make()
    let manifest = try AuditArchiveManifest(
      name: AuditArchiveManifest.fileName(first: 1, last: 9, tag: "0a"), firstSequence: 1,
      lastSequence: 9, entries: 9, firstTime: UnixTime(microseconds: 0),
      lastTime: UnixTime(microseconds: 5), previousHash: AuditChain.origin,
      lastHash: .init(repeating: 1, count: 32), sizeBytes: 100,
      fileHash: .init(repeating: 2, count: 32), createTime: UnixTime(microseconds: 9), keyID: ""
    ).signed(by: key)
    let read = try AuditArchiveManifest(parsing: manifest.json.text)
    #expect(read == manifest)
    #expect(read.isSigned(by: key.verifyingKey))
    #expect(!manifest.hasOwnFileName)
    var named = manifest
    named.name = AuditArchiveManifest.fileName(first: 1, last: 9, tag: "0123abcd")
    #expect(named.hasOwnFileName)
    for name in [
      "", "../audit-signing-key.pem", "../" + named.name, named.name + "/..",
      AuditArchiveManifest.fileName(first: 1, last: 8, tag: "0123abcd"),
      AuditArchiveManifest.fileName(first: 1, last: 9, tag: "../../../"),
    ] {
      named.name = name
      #expect(!named.hasOwnFileName, "\(name)")
    }
    var changed = read
    changed.entries = 8
    #expect(!changed.isSigned(by: key.verifyingKey))
    #expect(throws: AuditFileError.self) { try AuditArchiveManifest(parsing: "{}") }
  }

  @Test(arguments: [0, 1, 951_782_400_000_000, 1_709_164_800_123_456, 253_402_300_799_999_999])
  func aTimeIsReadAsItWasWritten(_ microseconds: Int64) {
    let time = UnixTime(microseconds: microseconds)
    #expect(UnixTime(exactly: time.description) == time)
  }

  @Test(arguments: [
    "", "2026-11-21", "2026-11-21T10:00:00Z", "2026-02-30T10:00:00.000000Z",
    "2026-13-01T10:00:00.000000Z", "2026-11-21T24:00:00.000000Z", "2026-11-21t10:00:00.000000z",
    "2026-11-21T10:00:00.000000+00:00",
  ])
  func aTimeOfAnotherFormIsNone(_ text: String) {
    #expect(UnixTime(exactly: text) == nil)
  }
}
