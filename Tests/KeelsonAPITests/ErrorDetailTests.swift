import KeelsonAPI
import KeelsonCore
import Testing

@Suite struct ErrorDetailTests {
  /// The details of an error once it has crossed the wire.
  private func received(_ details: [ErrorDetail]) -> [ErrorDetail] {
    let sent = RPCError(.failedPrecondition, "as asked", details: details).withEncodedStatus()
    var received = RPCError(.failedPrecondition, "as asked")
    received.encodedStatus = sent.encodedStatus
    return received.withDecodedDetails().details
  }

  static let all: [ErrorDetail] = [
    .badRequest([
      FieldViolation(
        field: "flag.key", description: "is taken", reason: "KEY_TAKEN",
        localizedMessage: LocalizedMessage(locale: "de-DE", message: "ist vergeben")),
      FieldViolation(field: "flag.owner", description: "is empty"),
    ]),
    .retryInfo(.milliseconds(1_500)),
    .resourceInfo(type: "flag", name: "a", owner: "team", description: "gone"),
    .preconditionFailure([
      PreconditionViolation(type: "STATE", subject: "a", description: "not green"),
      PreconditionViolation(type: "STATE", subject: "b", description: "not blue"),
    ]),
    .quotaFailure([
      QuotaViolation(
        subject: "client:192.0.2.1", description: "too many", service: "keelson.flags.v1",
        metric: "flags", id: "flags-per-set", dimensions: ["set": "default"], value: 10_000,
        futureValue: 20_000),
      QuotaViolation(subject: "b", description: "none left"),
    ]),
    .errorInfo(reason: "ETAG_MISMATCH", domain: "keelson", metadata: ["etag": "7"]),
    .requestInfo(id: "0198-7", servingData: "shard 3"),
    .help([HelpLink(description: "limits", url: "https://example.com/limits")]),
    .localizedMessage(LocalizedMessage(locale: "nl-NL", message: "helaas")),
    .other(typeURL: "type.googleapis.com/example.Unknown", value: [8, 1]),
  ]

  @Test(arguments: all) func everyKindOfDetailCrossesTheWire(detail: ErrorDetail) {
    #expect(received([detail]) == [detail])
  }

  @Test func detailsKeepTheirOrderAndNumber() {
    #expect(received(Self.all + Self.all) == Self.all + Self.all)
  }

  @Test func aDetailThatIsNoValidEncodingOfItsKindIsKeptAsItCame() {
    let broken = ErrorDetail.other(
      typeURL: "type.googleapis.com/google.rpc.RetryInfo", value: [0x0A, 0x05, 1])
    #expect(received([broken]) == [broken])
  }

  @Test func debugInfoOfAnotherServerIsReadAndOursIsNeverSent() {
    let debug = ErrorDetail.debugInfo(stackEntries: ["main.swift:1"], detail: "SELECT 1")
    #expect(received([debug, .retryInfo(.zero)]) == [.retryInfo(.zero)])

    let foreign = GoogleRpc.Status(
      code: 13, message: "",
      details: [
        GoogleProtobuf.`Any`(
          packing: GoogleRpc.DebugInfo(stackEntries: ["main.swift:1"], detail: "SELECT 1"))
      ])
    var error = RPCError(.internalError, "")
    error.encodedStatus = foreign.encoded()
    #expect(error.withDecodedDetails().details == [debug])
  }

  @Test func aStatusThatCannotBeReadLeavesTheErrorAsItIs() {
    var error = RPCError(.notFound, "gone")
    error.encodedStatus = [0x0B]
    #expect(error.withDecodedDetails() == error)
  }
}
