import KeelsonAuditTrail
import KeelsonCrypto

/// The hashes that checkpoints were signed over, by the entry that each speaks of. It takes some 40
/// bytes for one, so that all of a long trail's fit into memory.
struct CheckpointHashes: Sendable {
  private var firstNumber: Int64 = 0
  /// Rising, but for checkpoints that say that nothing was recorded.
  private var sequences: [Int64] = []
  private var hashes: [UInt8] = []
  private var isCompared: [Bool] = []
  /// How many that count an entry was found for.
  private(set) var compared: Int64 = 0

  /// - Parameters:
  ///   - checkpoint: has the number after the last one's, and no lower sequence.
  ///   - counts: false: it is compared, and not counted.
  mutating func append(_ checkpoint: AuditCheckpoint, counts: Bool = true) {
    if sequences.isEmpty { firstNumber = checkpoint.number }
    sequences.append(checkpoint.sequence)
    hashes += checkpoint.hash
    isCompared.append(!counts)
  }

  /// - Returns: the number of a checkpoint that was signed over another hash of that entry.
  mutating func compare(_ sequence: Int64, _ hash: [UInt8]) -> Int64? {
    var index = firstIndex(notBelow: sequence)
    while index < sequences.count, sequences[index] == sequence {
      let start = index * SHA256.digestBytes
      guard hashes[start..<(start + SHA256.digestBytes)].elementsEqual(hash) else {
        return firstNumber + Int64(index)
      }
      if !isCompared[index] { compared += 1 }
      isCompared[index] = true
      index += 1
    }
    return nil
  }

  private func firstIndex(notBelow sequence: Int64) -> Int {
    var (low, high) = (0, sequences.count)
    while low < high {
      let middle = (low + high) / 2
      if sequences[middle] < sequence { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
