public import KeelsonAPI
public import KeelsonCore

/// Something that has happened in Keelson.
public struct Event: Sendable, Hashable, Identifiable {
  /// With ``source``, its name: no two events have both alike.
  public var id: String
  /// Where it happened, `/keelson/production` for example.
  public var source: String
  /// What has happened: `keelson.flags.FeatureFlagToggled` for example.
  public var type: String
  /// What it is about, `default/checkout` for example; empty when nothing in particular.
  public var subject: String
  /// When it happened.
  public var time: UnixTime?
  /// Its number among all changes, rising without a gap; nil for telemetry, which is not kept.
  public var revision: Int64?
  /// More about it, as its type says.
  public var data: JSONValue
  /// Who did it; empty when not known.
  public var actor: String
  /// The call that did it; empty when none did.
  public var correlationID: String
  /// The call's place in a distributed trace; empty when it was in none.
  public var traceparent: String
  /// A subscription that begins after this revision goes on behind this event.
  public var position: Int64
  /// How many telemetry events were left out ahead of this one because the reader was too slow.
  public var droppedBefore: Int64

  /// An event as the server sent it.
  ///
  /// - Throws: ``RPCError`` with code DATA_LOSS when its data is no JSON.
  public init(
    _ message: IoCloudeventsV1.CloudEvent, position: Int64? = nil, droppedBefore: Int64 = 0
  ) throws {
    func text(_ name: String) -> String {
      if case .ceString(let text) = message.attributes[name]?.attr { text } else { "" }
    }
    id = message.id
    source = message.source
    type = message.type
    subject = text("subject")
    if case .ceTimestamp(let time) = message.attributes["time"]?.attr {
      self.time = try time.unixTime
    }
    revision = Int64(text("sequence"))
    actor = text("actor")
    correlationID = text("correlationid")
    traceparent = text("traceparent")
    self.position = position ?? revision ?? 0
    self.droppedBefore = droppedBefore
    guard case .textData(let text) = message.data else {
      data = .null
      return
    }
    do {
      data = try JSONValue(parsing: text)
    } catch {
      throw RPCError(.dataLoss, "The data of event \(message.id) is no JSON: \(error)")
    }
  }

  /// Whether events of a type are kept.
  public enum Class: Sendable, Hashable, CaseIterable {
    /// Tells of a change, is numbered and kept for a while.
    case durable
    /// Too frequent to be kept: to whoever is subscribed at the moment.
    case telemetry

    var message: KeelsonEventsV1.EventClass {
      switch self {
      case .durable: .durable
      case .telemetry: .telemetry
      }
    }
  }
}
