import Glibc

/// A value that nobody may read by accident: it shows as `***` wherever it is printed, logged or
/// put into a sentence, and its bytes are overwritten once nobody holds it any more.
///
/// What is taken out of it by ``text`` or ``bytes`` is a copy like any other.
package struct SecretValue: Sendable {
  /// What is shown in its place.
  package static let mask = "***"

  private let storage: Storage

  package init(_ bytes: [UInt8]) {
    storage = Storage(bytes)
  }

  package init(_ text: String) {
    storage = Storage(Array(text.utf8))
  }

  /// How many bytes it has.
  package var count: Int { storage.count }

  package var isEmpty: Bool { storage.count == 0 }

  /// A copy of the bytes.
  package var bytes: [UInt8] { storage.copy }

  /// A copy as text; bytes that are no UTF-8 are replaced.
  package var text: String { String(decoding: storage.copy, as: UTF8.self) }

  /// A copy as text; nil when the bytes are no UTF-8.
  package var validText: String? { String(validating: storage.copy, as: UTF8.self) }

  /// Owns the bytes.
  ///
  /// `@unchecked Sendable`: immutable from init to deinit.
  @safe private final class Storage: @unchecked Sendable {
    private let buffer: UnsafeMutableBufferPointer<UInt8>

    init(_ bytes: [UInt8]) {
      unsafe buffer = .allocate(capacity: bytes.count)
      _ = unsafe buffer.initialize(from: bytes)
    }

    deinit {
      if let address = unsafe buffer.baseAddress {
        // Unlike memset, never left out by the compiler.
        unsafe explicit_bzero(address, buffer.count)
      }
      unsafe buffer.deallocate()
    }

    var count: Int { unsafe buffer.count }

    var copy: [UInt8] { unsafe Array(buffer) }
  }
}

extension SecretValue: Hashable {
  /// Compares in a time that does not depend on where they differ.
  package static func == (lhs: SecretValue, rhs: SecretValue) -> Bool {
    let (left, right) = (lhs.bytes, rhs.bytes)
    guard left.count == right.count else { return false }
    return zip(left, right).reduce(0 as UInt8) { $0 | ($1.0 ^ $1.1) } == 0
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(bytes)
  }
}

extension SecretValue: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  package var description: String { SecretValue.mask }
  package var debugDescription: String { SecretValue.mask }
  package var customMirror: Mirror { Mirror(self, children: []) }
}
