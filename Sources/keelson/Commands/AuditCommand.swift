import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson audit`: what was done, and the proof of it.
enum AuditCommand {
  static let command = Command(
    name: "audit", summary: "Read, record, export and verify the audit trail",
    subcommands: [
      list, get, history, tail, export, verify, checkpoints, keys, retention, archive, archives,
      erase, record,
    ])

  private static let list = Command(
    name: "list", summary: "List entries, newest first",
    options: AuditOptions.filter + [
      AuditOptions.limit, FlagOptions.pageSize, FlagOptions.pageToken,
    ]
      + Session.options
  ) { invocation in
    let filter = try AuditOptions.filter(invocation)
    try await Session.run(invocation) { session in
      let answer = try await pages(invocation) { size, token in
        try await session.client.admin.audit.listEntries(
          .init(filter: filter, pageSize: size, pageToken: token))
      }
      try session.output.print(answer) { answer.table }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show an entry",
    arguments: [.init(name: "ENTRY", help: "Its sequence number or its id.")],
    options: Session.options
  ) { invocation in
    let name = invocation.argument("ENTRY")
    try await Session.run(invocation) { session in
      let entry = try await session.client.admin.audit.getEntry(
        .init(name: Int64(name).map { .sequence($0) } ?? .entryId(name)))
      try session.output.print(entry) { entry.sheet }
    }
  }

  private static let history = Command(
    name: "history", summary: "List all that a user did and all that was done to them",
    arguments: [.init(name: "USER", help: "The user's name, as it stands in entries.")],
    options: [
      AuditOptions.from, AuditOptions.to, AuditOptions.limit, FlagOptions.pageSize,
      FlagOptions.pageToken,
    ] + Session.options
  ) { invocation in
    let (from, to) = try AuditOptions.times(invocation)
    try await Session.run(invocation) { session in
      let answer = try await pages(invocation) { size, token in
        try await session.client.admin.audit.listUserHistory(
          .init(
            user: invocation.argument("USER"), startTime: from, endTime: to, pageSize: size,
            pageToken: token))
      }
      try session.output.print(answer) { answer.table }
    }
  }

  private static let tail = Command(
    name: "tail", summary: "Show entries as they are recorded, until Ctrl-C",
    discussion:
      "Goes on by itself when the connection or the server is lost, without loss or repetition.",
    options: AuditOptions.filter + [
      .init(
        name: "after", value: "SEQUENCE",
        help: "Go on after an entry, 0 for all that are kept; from now on when not given.")
    ] + Session.streamOptions
  ) { invocation in
    let request = KeelsonAuditV1.TailEntriesRequest(
      filter: try AuditOptions.filter(invocation),
      afterSequence: try invocation.integer("after"))
    try await Session.run(invocation) { session in
      let service = session.client.admin.audit
      try await session.follow(
        "audit entries", from: request, begin: { service.tailEntries($0, options: $1) },
        heartbeat: { response in
          guard case .heartbeat(let heartbeat) = response.event else { return nil }
          return .some(heartbeat.interval)
        },
        take: { response, request in
          request.afterSequence = response.sequence
          guard case .entry(let entry) = response.event else { return }
          try session.output.print(entry) { entry.line }
        })
    }
  }

  private static let record = Command(
    name: "record", summary: "Record an entry",
    arguments: [
      .init(name: "ACTION", help: "What was done, order.cancelled for example."),
      .init(name: "ENTITY-TYPE", help: "The kind of thing it was done to."),
      .init(name: "ENTITY-ID", help: "Which one.", isOptional: true),
    ],
    options: [
      .init(name: "actor", value: "NAME", help: "Who did it."),
      .init(name: "before", value: "JSON|@FILE", help: "The thing before, or a file with it."),
      .init(name: "after", value: "JSON|@FILE", help: "The thing after, or a file with it."),
      AuditOptions.category,
      .init(
        name: "outcome", value: "OUTCOME", help: "How it ended.", defaultValue: "success",
        choices: AuditOptions.outcomes),
      AuditOptions.correlation,
      .init(
        name: "attribute", value: "NAME=TEXT", help: "What else is to be known.",
        isRepeatable: true),
      .init(
        name: "subject", value: "NAME",
        help: "Whose personal data it holds: encrypted, and gone when 'audit erase' says so."),
      .init(
        name: "entry-id", value: "UUID",
        help: "An id of your own: recording it again records nothing twice."),
    ] + Session.options
  ) { invocation in
    guard let actor = invocation.option("actor") else {
      throw UsageError("Say who did it with --actor.")
    }
    var attributes: [String: String] = [:]
    for pair in invocation.all("attribute") {
      guard let equals = pair.firstIndex(of: "="), equals > pair.startIndex else {
        throw UsageError("--attribute takes NAME=TEXT, order=17 for example, not '\(pair)'.")
      }
      attributes[String(pair[..<equals])] = String(pair[pair.index(after: equals)...])
    }
    let draft = KeelsonAuditV1.EntryDraft(
      entryId: invocation.option("entry-id") ?? "", actor: actor,
      action: invocation.argument("ACTION"), entityType: invocation.argument("ENTITY-TYPE"),
      entityId: invocation.argument("ENTITY-ID"),
      before: try FlagOptions.rules("before", invocation) ?? "",
      after: try FlagOptions.rules("after", invocation) ?? "",
      category: invocation.option("category") ?? "",
      outcome: AuditOptions.outcome(invocation) ?? .success,
      correlationId: invocation.option("correlation-id") ?? "", attributes: attributes,
      subject: invocation.option("subject") ?? "")
    try await Session.run(invocation) { session in
      let answer = try await KeelsonAuditV1.RecordEntriesResponse(
        entries: session.client.audit.recordNow([draft]))
      try session.output.print(answer) {
        answer.entries.map {
          "\($0.duplicate ? "Recorded already" : "Recorded") as \($0.sequence), \($0.entryId)"
        }.joined(separator: "\n")
      }
    }
  }

  /// One page as `--page-size` says, else as many as `--limit`.
  private static func pages(
    _ invocation: Invocation,
    _ page: (Int32, String) async throws -> KeelsonAuditV1.ListEntriesResponse
  ) async throws -> KeelsonAuditV1.ListEntriesResponse {
    var token = invocation.option("page-token") ?? ""
    if let size: Int32 = try invocation.integer("page-size") { return try await page(size, token) }
    guard let limit: Int = try invocation.integer("limit"), limit > 0 else {
      throw UsageError("--limit takes a number above 0.")
    }
    var answer = KeelsonAuditV1.ListEntriesResponse()
    repeat {
      let next = try await page(Int32(clamping: min(1_000, limit - answer.entries.count)), token)
      answer.entries += next.entries
      answer.nextPageToken = next.nextPageToken
      token = next.nextPageToken
    } while !token.isEmpty && answer.entries.count < limit
    return answer
  }
}
