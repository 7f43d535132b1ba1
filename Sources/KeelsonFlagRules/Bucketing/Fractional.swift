import KeelsonCore

/// `fractional`: a value's hash chooses among weighted variants; the same value always the same.
///
/// null when there is nothing to bucket by, a weight is no whole number, or the weights add up to
/// nothing or to more than ``largestTotalWeight``.
final class Fractional: Expression {
  static let largestTotalWeight: Int64 = 2_147_483_647

  struct Share: Sendable {
    enum Weight: Sendable {
      case fixed(Int64)
      case computed(any Expression)
    }
    let variant: any Expression
    let weight: Weight
  }

  enum Part: Sendable {
    case share(Share)
    /// An operator that has to give the list of variant and weight.
    case computed(any Expression)
  }

  private enum Choice {
    case nothing
    case expression(any Expression)
  }

  /// Where a part's slice of the total weight ends, and what it gives.
  private struct Slice: Sendable {
    let end: UInt64
    let variant: any Expression
  }

  private let bucketing: Bucketing
  /// nil for the short form, which buckets by flag key and targeting key.
  private let bucketBy: (any Expression)?
  private let parts: [Part]
  /// All slices when all weights stand in the rule; nil when some are computed.
  private let slices: [Slice]?
  /// The hash after the part of the short form that does not change: the flag's key.
  private let flagKeyHash: Murmur3

  init(
    bucketing: Bucketing, flagKey: String, bucketBy: (any Expression)?, parts: [Part]
  ) {
    self.bucketing = bucketing
    self.bucketBy = bucketBy
    self.parts = parts
    var hash = Murmur3()
    switch bucketing {
    case .v2:
      hash.absorb(flagKey)
    case .v3:
      hash.absorbCBORArrayHead(count: 2)
      hash.absorbCBOR(flagKey)
    }
    flagKeyHash = hash
    slices = Fractional.slices(parts)
  }

  private static func slices(_ parts: [Part]) -> [Slice]? {
    var end: Int64 = 0
    var slices: [Slice] = []
    for part in parts {
      guard case .share(let share) = part, case .fixed(let weight) = share.weight,
        weight <= largestTotalWeight
      else { return nil }
      end += max(0, weight)
      slices.append(Slice(end: UInt64(end), variant: share.variant))
    }
    return end > largestTotalWeight ? nil : slices
  }

  func value(_ frame: inout Frame) -> JSONValue {
    switch choose(&frame) {
    case .nothing: return .null
    case .expression(let expression): return Fractional.variant(expression.value(&frame))
    }
  }

  func decide(_ frame: inout Frame) -> FlagEvaluation.Outcome {
    if case .expression(let expression) = choose(&frame) {
      if let literal = expression as? Literal, let outcome = literal.outcome { return outcome }
      return frame.decisions.outcome(for: Fractional.variant(expression.value(&frame)))
    }
    return frame.decisions.undecided
  }

  /// A list or object is no variant.
  private static func variant(_ value: JSONValue) -> JSONValue {
    switch value {
    case .array, .object: .null
    default: value
    }
  }

  private func choose(_ frame: inout Frame) -> Choice {
    guard let bucketBy else { return choose(shortFormHash(frame), parts, slices, &frame) }
    switch (bucketing, bucketBy.value(&frame)) {
    case (_, .array(let list)):
      // No value to bucket by after all, but the first share of the short form.
      let first = Part.computed(Literal(.array(list)))
      return choose(shortFormHash(frame), [first] + parts, nil, &frame)
    case (.v2, .string(let text)):
      var hash = Murmur3()
      hash.absorb(text)
      return choose(hash.digest, parts, slices, &frame)
    case (.v2, .null):
      return choose(shortFormHash(frame), parts, slices, &frame)
    case (.v2, _), (.v3, .null):
      return .nothing
    case (.v3, let value):
      var hash = Murmur3()
      guard hash.absorbCBOR(value) else { return .nothing }
      return choose(hash.digest, parts, slices, &frame)
    }
  }

  private func shortFormHash(_ frame: borrowing Frame) -> UInt32? {
    guard let key = frame.context.targetingKey, !key.isEmpty else { return nil }
    var hash = flagKeyHash
    switch bucketing {
    case .v2: hash.absorb(key)
    case .v3: hash.absorbCBOR(key)
    }
    return hash.digest
  }

  private func choose(
    _ hash: UInt32?, _ parts: [Part], _ slices: [Slice]?, _ frame: inout Frame
  ) -> Choice {
    guard let hash else { return .nothing }
    guard let slices = slices ?? computedSlices(parts, &frame) else { return .nothing }
    guard let total = slices.last?.end, total > 0 else { return .nothing }
    let bucket = (UInt64(hash) * total) >> 32
    for slice in slices where bucket < slice.end { return .expression(slice.variant) }
    return .nothing
  }

  private func computedSlices(_ parts: [Part], _ frame: inout Frame) -> [Slice]? {
    var end: Int64 = 0
    var slices: [Slice] = []
    for part in parts {
      let variant: any Expression
      let weight: JSONValue
      switch part {
      case .share(let share):
        variant = share.variant
        switch share.weight {
        case .fixed(let fixed): weight = .number(Double(fixed))
        case .computed(let expression): weight = expression.value(&frame)
        }
      case .computed(let expression):
        guard case .array(let list) = expression.value(&frame), let first = list.first else {
          return nil
        }
        variant = Literal(first)
        weight = list.count > 1 ? list[1] : .null
      }
      guard let whole = Fractional.weight(weight) else { return nil }
      end += max(0, whole)
      slices.append(Slice(end: UInt64(end), variant: variant))
    }
    return end > Fractional.largestTotalWeight ? nil : slices
  }

  /// A weight as a whole number: 1 when there is none; nil when it is none or too large.
  static func weight(_ value: JSONValue) -> Int64? {
    switch value {
    case .null: return 1
    case .number(let number):
      guard let whole = Int64(exactly: number), whole <= largestTotalWeight else { return nil }
      return whole
    default: return nil
    }
  }
}
