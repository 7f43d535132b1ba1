import KeelsonAPI
import KeelsonCore

/// A request for one page of events, and its tokens. Source: AIP-158.
///
/// A token is a place among the revisions and a direction, with a checksum over the rest of the
/// request, so that it cannot be used with other filters. Revisions never change and new ones only
/// come at the end, so a page is the same whatever was added since.
struct EventPage {
  private typealias API = KeelsonEventsV1

  /// Which way a page lies from its token's place.
  private enum Side: Character {
    case next = "n"
    case previous = "p"
  }

  private let size: Int
  private let isAscending: Bool
  private let side: Side
  /// The revision of the event that the page comes after or before; nil for the first page.
  private let place: Int64?
  private let checksum: String
  private let filters: EventRepository.Query
  private let limits: EventLimits

  /// - Throws: `RPCError` INVALID_ARGUMENT that names the field.
  init(_ request: KeelsonEventsV1.ListEventsRequest, limits: EventLimits) throws {
    guard request.pageSize >= 0 else {
      throw RPCError.invalidArgument(field: "page_size", "\(request.pageSize) is negative")
    }
    self.limits = limits
    size = min(
      request.pageSize == 0 ? limits.defaultPageSize : Int(request.pageSize),
      limits.maximumPageSize)
    isAscending = try EventPage.isAscending(request.orderBy)
    filters = try EventPage.filters(request, limits: limits)
    var rest = request
    rest.pageToken = ""
    rest.pageSize = 0
    checksum = EventPage.checksum(rest.encoded())
    guard !request.pageToken.isEmpty else {
      side = .next
      place = nil
      return
    }
    let parts = request.pageToken.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == checksum, parts[1].count == 1,
      let side = parts[1].first.flatMap(Side.init), let place = Int64(parts[2]),
      (0..<Int64.max).contains(place)
    else {
      throw RPCError.invalidArgument(
        field: "page_token",
        "is not a token of this list with these filters; start again without one")
    }
    self.side = side
    self.place = place
  }

  private static func isAscending(_ order: String) throws -> Bool {
    switch order.split(separator: " ").map({ $0.lowercased() }) {
    case [], ["revision", "desc"]: return false
    case ["revision"], ["revision", "asc"]: return true
    default:
      throw RPCError.invalidArgument(
        field: "order_by",
        "'\(order.prefix(64))' is no order; use \"revision desc\" or \"revision\"")
    }
  }

  private static func filters(
    _ request: KeelsonEventsV1.ListEventsRequest, limits: EventLimits
  ) throws -> EventRepository.Query {
    var query = EventRepository.Query(limit: 0)
    query.revisionsPerRead = Int64(limits.revisionsPerRead)
    query.types = try .reading(request.types, field: "types", limits: limits)
    for (index, pattern) in query.types.enumerated() {
      try EventSelection.checkKept(pattern, field: "types[\(index)]")
    }
    if !request.subject.isEmpty {
      query.subject = try NamePattern(request.subject, field: "subject", limits: limits)
    }
    for (field, value) in [("actor", request.actor), ("correlation_id", request.correlationId)] {
      guard value.utf8.count <= limits.patternBytes else {
        throw RPCError.invalidArgument(
          field: field,
          "has \(value.utf8.count) bytes; at most \(limits.patternBytes) are allowed")
      }
      guard !value.utf8.contains(0) else {
        throw RPCError.invalidArgument(field: field, "holds a NUL character, which no name has")
      }
    }
    query.actor = request.actor
    query.correlationID = request.correlationId
    query.start = try time(request.startTime, field: "start_time")
    query.end = try time(request.endTime, field: "end_time")
    if let start = query.start, let end = query.end, start >= end {
      throw RPCError.invalidArgument(
        field: "end_time", "is not after start_time, so nothing can lie between them")
    }
    return query
  }

  private static func time(_ time: GoogleProtobuf.Timestamp?, field: String) throws -> UnixTime? {
    do {
      return try time?.unixTime
    } catch {
      throw RPCError.invalidArgument(field: field, "is no moment of years 1 to 9999")
    }
  }

  /// What to read: one event more than the page, to see whether there is another. A page before a
  /// place is read backwards from there.
  var query: EventRepository.Query {
    var query = filters
    query.limit = size + 1
    query.isAscending = isAscending == (side == .next)
    return place.map { query.continued(from: $0) } ?? query
  }

  /// The answer, of the rows that the query gave.
  ///
  /// - Parameter endedAt: where the query ended though there may be more; nil when it did not.
  func response(
    _ rows: [(revision: Int64, event: IoCloudeventsV1.CloudEvent)], endedAt: Int64?
  ) -> KeelsonEventsV1.ListEventsResponse {
    var count = 0
    var bytes = 0
    for row in rows.prefix(size) {
      bytes += row.event.encoded().count
      if bytes > limits.pageBytes, count > 0 { break }
      count += 1
    }
    let hasMore = rows.count > count
    let page = side == .next ? Array(rows[..<count]) : rows[..<count].reversed()
    var response = KeelsonEventsV1.ListEventsResponse(events: page.map(\.event))
    switch side {
    case .next:
      if hasMore || endedAt != nil {
        response.nextPageToken = token(.next, hasMore ? page.last?.revision : endedAt)
      }
      response.previousPageToken = token(.previous, page.first?.revision ?? place)
    case .previous:
      response.nextPageToken = token(.next, page.last?.revision ?? justOutside)
      // Where nothing lies before, the same page asked for later has what came meanwhile.
      let further = hasMore ? nil : endedAt
      response.previousPageToken = token(.previous, further ?? page.first?.revision ?? place)
    }
    return response
  }

  /// Where a page begins that follows an empty one before a place: at the place itself.
  private var justOutside: Int64? {
    place.map { isAscending ? max(0, $0 - 1) : min($0 + 1, .max - 1) }
  }

  private func token(_ side: Side, _ revision: Int64?) -> String {
    guard let revision else { return "" }
    return "\(checksum).\(side.rawValue).\(revision)"
  }

  /// FNV-1a, 32 bits, in base 16: it guards against mistakes, not against malice.
  private static func checksum(_ bytes: [UInt8]) -> String {
    let sum = bytes.reduce(0x811C_9DC5 as UInt32) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    let digits = String(sum, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
