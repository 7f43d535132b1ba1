import COpenSSL
import Glibc
package import KeelsonCore

extension Certificate {
  /// More names than this are not read: no certificate of a service has them.
  private static let maximumNames: Int32 = 1_000

  /// What it says of its owner. Source: RFC 5280 section 4.2.1.6.
  package var names: PeerIdentity.Names {
    var names = PeerIdentity.Names()
    names.subject = subject
    names.commonName = commonName
    guard let list = unsafe X509_get_ext_d2i(x509, NID_subject_alt_name, nil, nil) else {
      return names
    }
    let stack = OpaquePointer(list)
    defer {
      unsafe OPENSSL_sk_pop_free(stack) {
        unsafe GENERAL_NAME_free($0?.assumingMemoryBound(to: GENERAL_NAME.self))
      }
    }
    for index in 0..<min(unsafe OPENSSL_sk_num(stack), Self.maximumNames) {
      guard let entry = unsafe OPENSSL_sk_value(stack, index) else { continue }
      var type: Int32 = 0
      let value = unsafe GENERAL_NAME_get0_value(
        entry.assumingMemoryBound(to: GENERAL_NAME.self), &type)
      guard let string = unsafe value?.assumingMemoryBound(to: ASN1_STRING.self) else { continue }
      let bytes = unsafe Self.bytes(of: string)
      switch type {
      case GEN_DNS: if let name = Self.plainText(bytes) { names.dnsNames.append(name) }
      case GEN_URI: if let name = Self.plainText(bytes) { names.uris.append(name) }
      case GEN_EMAIL: if let name = Self.plainText(bytes) { names.emailAddresses.append(name) }
      case GEN_IPADD: if let address = Self.address(bytes) { names.ipAddresses.append(address) }
      default: break
      }
    }
    return names
  }

  private var commonName: String? {
    guard let subject = unsafe X509_get_subject_name(x509) else { return nil }
    let index = unsafe X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
    guard index >= 0, let entry = unsafe X509_NAME_get_entry(subject, index),
      let value = unsafe X509_NAME_ENTRY_get_data(entry)
    else { return nil }
    var text: UnsafeMutablePointer<UInt8>?
    let count = unsafe ASN1_STRING_to_UTF8(&text, value)
    guard count >= 0, let text = unsafe text else { return nil }
    defer { unsafe CRYPTO_free(text, #fileID, #line) }
    return unsafe Self.plainText(Array(UnsafeBufferPointer(start: text, count: Int(count))))
  }

  private static func bytes(of string: UnsafePointer<ASN1_STRING>) -> [UInt8] {
    unsafe Array(
      UnsafeBufferPointer(
        start: ASN1_STRING_get0_data(string), count: Int(ASN1_STRING_length(string))))
  }

  /// nil for a name with control characters, a NUL above all: it would be read as another one.
  private static func plainText(_ bytes: [UInt8]) -> String? {
    guard bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return nil }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func address(_ bytes: [UInt8]) -> String? {
    guard bytes.count == 4 || bytes.count == 16 else { return nil }
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    let family = bytes.count == 4 ? AF_INET : AF_INET6
    guard unsafe inet_ntop(family, bytes, &text, socklen_t(text.count)) != nil else { return nil }
    return unsafe text.withUnsafeBufferPointer { buffer in
      unsafe buffer.baseAddress.map { unsafe String(cString: $0) }
    }
  }
}
