import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// A resource with the fields that only the server sets.
protocol StampedResource {
  var createTime: GoogleProtobuf.Timestamp? { get set }
  var updateTime: GoogleProtobuf.Timestamp? { get set }
  var revision: Int64 { get set }
  var etag: String { get set }
}

extension StampedResource {
  /// Marks the resource as changed by a change.
  mutating func stamp(_ change: Change, created: Bool = false) {
    let time = GoogleProtobuf.Timestamp(change.time)
    if created { createTime = time }
    updateTime = time
    revision = change.revision
    // Every change has a revision of its own, so it names the state of the resource.
    etag = "r" + String(change.revision, radix: 36)
  }
}

extension KeelsonFlagsV1.Flag: StampedResource {}
extension KeelsonFlagsV1.Segment: StampedResource {}
extension KeelsonFlagsV1.FlagSet: StampedResource {}
