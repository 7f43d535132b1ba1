import Testing

@testable import KeelsonTransport

@Suite struct BodyPiecesTests {
  @Test func piecesComeOutInOrderAlsoWhenMoreComeInBetween() {
    let bytes: [UInt8] = [1, 2, 3, 4, 5, 6]
    bytes.withUnsafeBufferPointer { bytes in
      func piece(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(rebasing: bytes[range])
      }
      var pieces = BodyPieces()
      #expect(pieces.takeFirst() == nil)
      pieces.append(piece(0..<2))
      pieces.append(piece(2..<3))
      #expect(pieces.takeFirst()?.elementsEqual([1, 2]) == true)
      pieces.append(piece(3..<5))
      #expect(pieces.takeFirst()?.elementsEqual([3]) == true)
      #expect(pieces.takeFirst()?.elementsEqual([4, 5]) == true)
      #expect(pieces.takeFirst() == nil)
      pieces.append(piece(5..<6))
      #expect(pieces.takeFirst()?.elementsEqual([6]) == true)
      #expect(pieces.takeFirst() == nil)
    }
  }
}
