/// How much a peer may ask of the decoder. What exceeds a limit is rejected before any memory is
/// taken for it.
public struct DecodingLimits: Sendable, Hashable {
  /// The size of the encoding. Also the bound of what packed numbers take: at most eight times
  /// this in memory.
  public var maximumBytes: Int
  /// How deep messages may nest, the outermost being 1. 100 is what protobuf's own
  /// implementations allow; unpacking takes about 1 KiB of stack a level.
  public var maximumDepth: Int
  /// How many fields the encoding may have in all, each element of a repeated field counted,
  /// except that a run of packed numbers counts as one. Each can take some hundred bytes in
  /// memory (an empty submessage of 2 bytes does).
  public var maximumFields: Int

  public init(maximumBytes: Int, maximumDepth: Int, maximumFields: Int) {
    self.maximumBytes = maximumBytes
    self.maximumDepth = maximumDepth
    self.maximumFields = maximumFields
  }

  /// For bytes from anyone, requests for example: 16 MiB, depth 100, 100,000 fields.
  public static let standard = DecodingLimits(
    maximumBytes: 16 << 20, maximumDepth: 100, maximumFields: 100_000)

  /// For replies of a server one has chosen to call: 256 MiB, depth 100, 5,000,000 fields.
  public static let reply = DecodingLimits(
    maximumBytes: 256 << 20, maximumDepth: 100, maximumFields: 5_000_000)
}
