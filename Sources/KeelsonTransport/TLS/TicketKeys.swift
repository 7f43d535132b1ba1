import COpenSSL
import Synchronization

/// The keys that session tickets are sealed with: shared by all loops, and by all certificates
/// that the server has in its life, so that a session can be resumed after a reload.
///
/// A key seals for 12 hours, then opens for 12 more: whoever steals a key later cannot read what
/// was said under tickets older than that. Source: RFC 5077 section 5.5.
final class TicketKeys: Sendable {
  struct Key: Sendable {
    let name: [UInt8]
    let cipherKey: [UInt8]
    let hmacKey: [UInt8]
    let made: ContinuousClock.Instant
  }

  static let nameBytes = 16
  private static let rotation: Duration = .seconds(12 * 3_600)

  /// The newest first; at most two.
  private let keys = Mutex<[Key]>([])

  /// The key to seal with now; nil when the system has no randomness to give.
  func current(at now: ContinuousClock.Instant = .now) -> Key? {
    keys.withLock { keys in
      if let newest = keys.first, newest.made.duration(to: now) < Self.rotation { return newest }
      guard let key = Self.make(now) else { return nil }
      keys = [key] + keys.prefix(1)
      return key
    }
  }

  /// The key of that name, and whether it still seals; nil when it is not known (any more).
  func find(
    _ name: UnsafeBufferPointer<UInt8>, at now: ContinuousClock.Instant = .now
  ) -> (key: Key, isCurrent: Bool)? {
    keys.withLock { keys in
      guard let key = keys.first(where: { unsafe $0.name.elementsEqual(name) }) else { return nil }
      let age = key.made.duration(to: now)
      guard age < Self.rotation * 2 else { return nil }
      return (key, age < Self.rotation)
    }
  }

  private static func make(_ now: ContinuousClock.Instant) -> Key? {
    var random = [UInt8](repeating: 0, count: nameBytes + 64)
    guard unsafe RAND_bytes(&random, Int32(random.count)) == 1 else { return nil }
    return Key(
      name: Array(random[..<nameBytes]), cipherKey: Array(random[nameBytes..<nameBytes + 32]),
      hmacKey: Array(random[(nameBytes + 32)...]), made: now)
  }

  /// Has the tickets of a context sealed with these keys. The keys must outlive the context.
  func use(in context: OpaquePointer) {
    unsafe SSL_CTX_set_ex_data(context, 0, Unmanaged.passUnretained(self).toOpaque())
    unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(context) {
      ssl, name, iv, cipher, hmac, isSealing in
      guard let ssl = unsafe ssl, let name = unsafe name, let iv = unsafe iv,
        let data = unsafe SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0)
      else { return -1 }
      let keys = unsafe Unmanaged<TicketKeys>.fromOpaque(data).takeUnretainedValue()
      return unsafe isSealing == 1
        ? keys.seal(name, iv, cipher, hmac)
        : keys.open(name, iv, cipher, hmac, isTLS13: SSL_version(ssl) >= TLS1_3_VERSION)
    }
  }

  private func seal(
    _ name: UnsafeMutablePointer<UInt8>, _ iv: UnsafeMutablePointer<UInt8>,
    _ cipher: OpaquePointer?, _ hmac: OpaquePointer?
  ) -> Int32 {
    guard let key = current(), unsafe RAND_bytes(iv, Int32(EVP_MAX_IV_LENGTH)) == 1 else {
      return -1
    }
    for (index, byte) in key.name.enumerated() { unsafe name[index] = byte }
    guard unsafe EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nil, key.cipherKey, iv) == 1,
      unsafe keelson_begin_hmac_sha256(hmac, key.hmacKey, key.hmacKey.count) == 1
    else { return -1 }
    return 1
  }

  /// 0: not one of ours, a full handshake follows; 2: good, and to be replaced by a new one, as
  /// each is in TLS 1.3, where clients use a ticket only once.
  private func open(
    _ name: UnsafeMutablePointer<UInt8>, _ iv: UnsafeMutablePointer<UInt8>,
    _ cipher: OpaquePointer?, _ hmac: OpaquePointer?, isTLS13: Bool
  ) -> Int32 {
    let wanted = unsafe UnsafeBufferPointer(start: name, count: Self.nameBytes)
    guard let (key, isCurrent) = unsafe find(wanted) else { return 0 }
    guard unsafe keelson_begin_hmac_sha256(hmac, key.hmacKey, key.hmacKey.count) == 1,
      unsafe EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nil, key.cipherKey, iv) == 1
    else { return -1 }
    return isCurrent && !isTLS13 ? 1 : 2
  }
}
