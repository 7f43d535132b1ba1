import CNghttp2

/// Header lists that have been dealt with, kept for their memory.
struct SpareFields {
  /// Each call under way in a turn of the loop holds one for its trailers until they are written.
  private static let maximumCount = 1_024
  /// Larger ones are rare, and not worth keeping.
  private static let maximumBytes = 4_096

  private var lists: [HTTP2Fields] = []

  mutating func take() -> HTTP2Fields { lists.popLast() ?? HTTP2Fields() }

  mutating func give(_ fields: consuming HTTP2Fields) {
    guard lists.count < Self.maximumCount, fields.bytes.capacity <= Self.maximumBytes else {
      return
    }
    fields.removeAll()
    lists.append(fields)
  }
}

/// Streams that have closed and that nobody refers to, kept for the next request.
struct SpareStreams {
  private static let maximumCount = 1_024

  private var streams: [HTTP2Stream] = []

  mutating func take(_ connection: HTTP2Connection, _ id: Int32) -> HTTP2Stream {
    guard let stream = streams.popLast() else {
      return HTTP2Stream(connection: connection, id: id)
    }
    stream.reuse(connection, id)
    return stream
  }

  /// Keeps a stream, unless its handler or somebody else still refers to it.
  mutating func give(_ stream: inout HTTP2Stream) {
    guard streams.count < Self.maximumCount, isKnownUniquelyReferenced(&stream) else { return }
    streams.append(stream)
  }
}

/// A list of header fields, received or to be sent: names and values in one array of bytes.
package struct HTTP2Fields: Sendable {
  /// One field: its name and then its value stand in `bytes` from `start`.
  struct Entry: Sendable {
    var start: UInt32
    var nameBytes: UInt32
    var valueBytes: UInt32
    /// Whether the compressor may remember it.
    var isIndexed: Bool
  }

  /// What the headers of a request mostly need, taken at once.
  private static let usualBytes = 384
  private static let usualCount = 14

  private(set) var bytes: [UInt8] = []
  private(set) var entries: [Entry] = []

  /// The size as SETTINGS_MAX_HEADER_LIST_SIZE counts it: RFC 9113 section 6.5.2.
  package var listBytes: Int { bytes.count + 32 * entries.count }

  package init() {}

  package var count: Int { entries.count }
  var isEmpty: Bool { entries.isEmpty }

  /// Adds a field.
  ///
  /// - Parameter isIndexed: false for values that hardly ever come twice, or are secret: the
  ///   compressor then does not remember them (RFC 7541 section 7.1.3).
  package mutating func append(_ name: String, _ value: String, isIndexed: Bool = true) {
    let start = bytes.count
    bytes.append(contentsOf: name.utf8)
    let nameBytes = bytes.count - start
    bytes.append(contentsOf: value.utf8)
    entries.append(
      Entry(
        start: UInt32(start), nameBytes: UInt32(nameBytes),
        valueBytes: UInt32(bytes.count - start - nameBytes), isIndexed: isIndexed))
  }

  /// Adds a field with a value in bytes.
  package mutating func append(_ name: StaticString, _ value: [UInt8], isIndexed: Bool = true) {
    let start = bytes.count
    unsafe bytes.append(
      contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    bytes.append(contentsOf: value)
    entries.append(
      Entry(
        start: UInt32(start), nameBytes: UInt32(name.utf8CodeUnitCount),
        valueBytes: UInt32(value.count), isIndexed: isIndexed))
  }

  /// Adds a field whose value `write` appends to the array it is given.
  mutating func append(
    _ name: StaticString, isIndexed: Bool = true, write: (inout [UInt8]) -> Void
  ) {
    let start = bytes.count
    unsafe bytes.append(
      contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    write(&bytes)
    entries.append(
      Entry(
        start: UInt32(start), nameBytes: UInt32(name.utf8CodeUnitCount),
        valueBytes: UInt32(bytes.count - start - name.utf8CodeUnitCount), isIndexed: isIndexed))
  }

  /// Adds a received field.
  mutating func append(name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
    let start = bytes.count
    if start == 0 {
      bytes.reserveCapacity(Self.usualBytes)
      entries.reserveCapacity(Self.usualCount)
    }
    unsafe bytes.append(contentsOf: name)
    unsafe bytes.append(contentsOf: value)
    entries.append(
      Entry(
        start: UInt32(start), nameBytes: UInt32(name.count), valueBytes: UInt32(value.count),
        isIndexed: true))
  }

  /// Becomes a copy of another list, in the memory it has.
  mutating func set(to other: HTTP2Fields) {
    removeAll()
    bytes.append(contentsOf: other.bytes)
    entries.append(contentsOf: other.entries)
  }

  mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    entries.removeAll(keepingCapacity: true)
  }

  /// Hands on each field in order.
  package func forEach(_ body: (_ name: Span<UInt8>, _ value: Span<UInt8>) -> Void) {
    let span = bytes.span
    for entry in entries {
      let valueStart = Int(entry.start + entry.nameBytes)
      body(
        span.extracting(Int(entry.start)..<valueStart),
        span.extracting(valueStart..<valueStart + Int(entry.valueBytes)))
    }
  }

  /// Hands on the value of the first field with this name; nil if there is none.
  package func withValue<Result>(
    of name: StaticString, _ body: (_ value: Span<UInt8>) -> Result
  ) -> Result? {
    let span = bytes.span
    for entry in entries where Int(entry.nameBytes) == name.utf8CodeUnitCount {
      let valueStart = Int(entry.start + entry.nameBytes)
      if span.extracting(Int(entry.start)..<valueStart).equals(name) {
        return body(span.extracting(valueStart..<valueStart + Int(entry.valueBytes)))
      }
    }
    return nil
  }

  /// The value of the first field with this name, as text.
  package func value(of name: StaticString) -> String? {
    withValue(of: name) { String(repairing: $0) }
  }

  /// Hands on the fields in nghttp2's form; the pointers are valid during `body`.
  func withNameValues<Result>(
    _ room: inout [nghttp2_nv],
    _ body: (UnsafePointer<nghttp2_nv>?, Int) -> Result
  ) -> Result {
    unsafe bytes.withUnsafeBufferPointer { bytes in
      unsafe room.removeAll(keepingCapacity: true)
      if let base = bytes.baseAddress {
        // nghttp2 only reads through these pointers, and copies unless told otherwise.
        let start = unsafe UnsafeMutablePointer(mutating: base)
        for entry in entries {
          let flags =
            entry.isIndexed ? NGHTTP2_NV_FLAG_NONE.rawValue : NGHTTP2_NV_FLAG_NO_INDEX.rawValue
          unsafe room.append(
            nghttp2_nv(
              name: start + Int(entry.start), value: start + Int(entry.start + entry.nameBytes),
              namelen: Int(entry.nameBytes), valuelen: Int(entry.valueBytes), flags: UInt8(flags)))
        }
      }
      return unsafe room.withUnsafeBufferPointer { unsafe body($0.baseAddress, $0.count) }
    }
  }
}
