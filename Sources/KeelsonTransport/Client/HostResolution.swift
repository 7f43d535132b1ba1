import CLibUV
import Glibc

/// Finds the addresses of a host name, on libuv's threads. Confined to its loop.
final class HostResolution {
  typealias Outcome = Result<[SocketAddress], SocketError>

  private let host: String
  private var completion: ((Outcome) -> Void)?

  private init(host: String, completion: @escaping (Outcome) -> Void) {
    self.host = host
    self.completion = completion
  }

  /// Begins to look a name up. On the loop's thread only.
  ///
  /// - Parameter completion: called once, on the loop, later than this returns, with at least one
  ///   address in the order of RFC 6724; never after ``cancel()``.
  static func start(
    host: String, port: UInt16, on loop: Loop, completion: @escaping (Outcome) -> Void
  ) -> HostResolution {
    let resolution = HostResolution(host: host, completion: completion)
    let request = UnsafeMutablePointer<uv_getaddrinfo_t>.allocate(capacity: 1)
    // The request owns one reference until its callback.
    unsafe request.pointee.data = Unmanaged.passRetained(resolution).toOpaque()
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_ADDRCONFIG
    let status = unsafe uv_getaddrinfo(
      loop.uvLoop, request,
      { request, status, list in
        guard let request = unsafe request, let data = unsafe request.pointee.data else { return }
        let resolution = unsafe Unmanaged<HostResolution>.fromOpaque(data).takeRetainedValue()
        unsafe request.deallocate()
        unsafe resolution.finish(status, list)
        unsafe uv_freeaddrinfo(list)
      }, host, String(port), &hints)
    if status != 0 {
      // UV_ENOMEM, UV_EINVAL, UV_ENAMETOOLONG: there will be no callback.
      unsafe Unmanaged.passUnretained(resolution).release()
      unsafe request.deallocate()
      _ = loop.schedule(afterMilliseconds: 0) { resolution.fail(status) }
    }
    return resolution
  }

  /// Forgets the completion; what libuv still finds is thrown away.
  func cancel() {
    completion = nil
  }

  private func finish(_ status: Int32, _ list: UnsafeMutablePointer<addrinfo>?) {
    guard status == 0 else { return fail(status) }
    var addresses: [SocketAddress] = []
    var next = unsafe list
    while let entry = unsafe next {
      if let address = unsafe Self.address(of: entry.pointee), !addresses.contains(address) {
        addresses.append(address)
      }
      unsafe next = entry.pointee.ai_next
    }
    if addresses.isEmpty { return fail(Int32(UV_EAI_NODATA.rawValue)) }
    complete(.success(addresses))
  }

  private func fail(_ status: Int32) {
    complete(
      .failure(
        SocketError(
          .connectionFailed, "the name \(host) has no address: \(uvMessage(status))")))
  }

  private func complete(_ outcome: Outcome) {
    let completion = completion
    self.completion = nil
    completion?(outcome)
  }

  private static func address(of entry: addrinfo) -> SocketAddress? {
    guard let address = unsafe entry.ai_addr else { return nil }
    var storage = sockaddr_storage()
    let length = unsafe min(Int(entry.ai_addrlen), MemoryLayout<sockaddr_storage>.size)
    unsafe withUnsafeMutableBytes(of: &storage) { bytes in
      unsafe bytes.copyMemory(from: UnsafeRawBufferPointer(start: address, count: length))
    }
    return SocketAddress(storage: storage, length: socklen_t(length))
  }
}
