import KeelsonCrypto
import Testing

@Suite struct SHA256Tests {
  /// FIPS 180-2, appendix B.1, and the digest of nothing.
  @Test(arguments: [
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
  ])
  func knownDigests(text: String, digest: String) {
    #expect(Hexadecimal.text(SHA256.hash(Array(text.utf8))) == digest)
    let stream = SHA256Stream()
    for byte in text.utf8 { stream.update([byte]) }
    #expect(Hexadecimal.text(stream.finish()) == digest)
  }

  /// RFC 4231, test case 2.
  @Test func knownCode() {
    let code = HMACSHA256.code(
      Array("what do ya want for nothing?".utf8), key: Array("Jefe".utf8))
    #expect(
      Hexadecimal.text(code)
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
  }
}

@Suite struct AES256GCMTests {
  /// The Galois/Counter Mode of Operation (McGrew, Viega), test case 14, as a sealed value.
  @Test func knownValue() throws {
    let sealed = try #require(
      Hexadecimal.bytes(
        String(repeating: "0", count: 24) + "cea7403d4d606b6e074ec5d3baf39d18"
          + "d0d1c8a799996bf0265b98b5d48ab919"))
    let opened = try AES256GCM.open(
      sealed, key: [UInt8](repeating: 0, count: 32), binding: [])
    #expect(opened == [UInt8](repeating: 0, count: 16))
  }

  @Test(arguments: [0, 1, 15, 16, 17, 1_000_000])
  func whatIsSealedOpens(count: Int) throws {
    let key = try AES256GCM.makeKey()
    let plaintext = try SecureRandom.bytes(count)
    let sealed = try AES256GCM.seal(plaintext, key: key, binding: [1, 2])
    #expect(sealed.count == count + AES256GCM.overheadBytes)
    #expect(try AES256GCM.open(sealed, key: key, binding: [1, 2]) == plaintext)
  }

  @Test func anyChangeIsNoticed() throws {
    let key = try AES256GCM.makeKey()
    let sealed = try AES256GCM.seal(Array("secret".utf8), key: key, binding: [1])
    for index in sealed.indices {
      var changed = sealed
      changed[index] ^= 1
      #expect(code { _ = try AES256GCM.open(changed, key: key, binding: [1]) } == .unauthentic)
    }
    #expect(code { _ = try AES256GCM.open(sealed, key: key, binding: [2]) } == .unauthentic)
    let other = try AES256GCM.makeKey()
    #expect(code { _ = try AES256GCM.open(sealed, key: other, binding: [1]) } == .unauthentic)
    #expect(
      code { _ = try AES256GCM.open(Array(sealed[..<27]), key: key, binding: [1]) } == .malformed)
    #expect(code { _ = try AES256GCM.open(sealed, key: [1], binding: [1]) } == .malformed)
  }

  private func code(_ work: () throws -> Void) -> CryptoError.Code? {
    do {
      try work()
      return nil
    } catch {
      return (error as? CryptoError)?.code
    }
  }
}

@Suite struct SigningKeyTests {
  /// RFC 8032, 7.1, test 2.
  @Test func knownSignature() throws {
    let key = try VerifyingKey(
      bytes: #require(
        Hexadecimal.bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")))
    let signature = try #require(
      Hexadecimal.bytes(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
          + "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"))
    #expect(key.isValid(signature, of: [0x72]))
    #expect(!key.isValid(signature, of: [0x73]))
    #expect(!key.isValid(Array(signature.dropLast()), of: [0x72]))
  }

  @Test func keysGoThroughPEM() throws {
    let key = try SigningKey.make()
    let signature = try key.signature(of: [1, 2, 3])
    let read = try SigningKey(pem: key.pem)
    #expect(read.verifyingKey == key.verifyingKey)
    let verifying = try VerifyingKey(pem: key.verifyingKey.pem)
    #expect(verifying == key.verifyingKey)
    #expect(verifying.isValid(signature, of: [1, 2, 3]))
    #expect(verifying.id.count == 16)
    #expect(throws: CryptoError.self) { try SigningKey(pem: "nothing") }
    #expect(throws: CryptoError.self) { try VerifyingKey(pem: key.pem) }
    #expect(throws: CryptoError.self) { try VerifyingKey(bytes: [1]) }
  }
}

@Suite struct LocalKeysTests {
  @Test func wrappedKeysOpenAfterARotation() async throws {
    let (old, new) = (try AES256GCM.makeKey(), try AES256GCM.makeKey())
    let before = try LocalKeys(["a": old], currentID: "a")
    let dataKey = try AES256GCM.makeKey()
    let wrapped = try await before.wrap(dataKey)
    #expect(wrapped.keyID == "a")
    let after = try LocalKeys(["a": old, "b": new], currentID: "b")
    let opened = try await after.unwrap(wrapped)
    #expect(opened == dataKey)
    let again = try await after.wrap(dataKey)
    #expect(again.keyID == "b")
  }

  @Test func errorsSayWhatIsWrong() async throws {
    #expect(throws: CryptoError.self) { try LocalKeys(["a": [1]], currentID: "a") }
    #expect(throws: CryptoError.self) { try LocalKeys([:], currentID: "a") }
    let keys = try LocalKeys(["a": try AES256GCM.makeKey()], currentID: "a")
    let wrapped = try await keys.wrap([1])
    let missing = await #expect(throws: CryptoError.self) {
      try await keys.unwrap(WrappedKey(keyID: "b", bytes: wrapped.bytes))
    }
    #expect(missing?.code == .missingKey)
    // Under another name the same bytes do not pass.
    let renamed = try LocalKeys(["b": try AES256GCM.makeKey()], currentID: "b")
    await #expect(throws: CryptoError.self) {
      try await renamed.unwrap(WrappedKey(keyID: "b", bytes: wrapped.bytes))
    }
  }
}

@Suite struct HexadecimalTests {
  @Test func bothWays() {
    let all = (UInt8.min...UInt8.max).map { $0 }
    #expect(Hexadecimal.bytes(Hexadecimal.text(all)) == all)
    #expect(Hexadecimal.bytes("0aFF") == [10, 255])
    for text in ["0", "0g", "é"] { #expect(Hexadecimal.bytes(text) == nil) }
  }
}
