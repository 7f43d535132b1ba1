import CLibUV
import Glibc

/// Tells when a file descriptor that another library owns can be read or written. Confined to its
/// loop.
///
/// It does not close the descriptor: ``close()`` the watch first, then have its owner close it.
@safe package final class DescriptorWatch {
  package struct Events: OptionSet, Sendable {
    package let rawValue: Int32

    package init(rawValue: Int32) {
      self.rawValue = rawValue
    }

    /// There is something to read, or the peer has ended, or an error waits to be read.
    package static let readable = Events(rawValue: Int32(UV_READABLE.rawValue))
    package static let writable = Events(rawValue: Int32(UV_WRITABLE.rawValue))
  }

  private let handle: UnsafeMutablePointer<uv_poll_t>
  private var onReady: ((Events) -> Void)?
  private var watched: Events = []

  /// A watch that waits for nothing yet. On the loop's thread only.
  ///
  /// - Parameter onReady: called on the loop's thread, never after ``close()``.
  package init(
    fileDescriptor: Int32, on loop: Loop, onReady: @escaping (Events) -> Void
  ) throws(SocketError) {
    unsafe handle = .allocate(capacity: 1)
    let status = unsafe uv_poll_init(loop.uvLoop, handle, fileDescriptor)
    guard status == 0 else {
      unsafe handle.deallocate()
      throw SocketError(
        .system, "Watching a descriptor failed: \(uvMessage(status)).", cause: -status)
    }
    self.onReady = onReady
    unsafe handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit {
    assert(onReady == nil, "a watch is closed on its loop before it goes")
  }

  /// What to wait for from now on, again and again until it is taken away.
  package func wait(for events: Events) {
    guard onReady != nil, events != watched else { return }
    watched = events
    start()
  }

  /// Waits for nothing any more and lets go of the closure. Calling it again does nothing.
  package func close() {
    guard onReady != nil else { return }
    onReady = nil
    unsafe handle.pointee.data = nil
    unsafe uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) {
      unsafe $0?.deallocate()
    }
  }

  private func start() {
    guard !watched.isEmpty else {
      _ = unsafe uv_poll_stop(handle)
      return
    }
    _ = unsafe uv_poll_start(handle, watched.rawValue) { handle, status, events in
      guard let data = unsafe handle?.pointee.data else { return }
      unsafe Unmanaged<DescriptorWatch>.fromOpaque(data).takeUnretainedValue()
        .isReady(status: status, events: events)
    }
  }

  private func isReady(status: Int32, events: Int32) {
    // What is called here may let go of the last reference to this watch.
    withExtendedLifetime(self) {
      // After an error reading says what it was.
      onReady?(status < 0 ? .readable : Events(rawValue: events))
      // libuv stops watching when it reports an error; bytes that came ahead of it may be all
      // that was read just now.
      if status < 0, onReady != nil { start() }
    }
  }
}
