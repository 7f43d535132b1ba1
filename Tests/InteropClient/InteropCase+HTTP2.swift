import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages

extension InteropCase {
  /// Against a server that misbehaves below gRPC, in the way of the case's name.
  static let http2 = [
    InteropCase(name: "goaway") { peer in
      // The server says GOAWAY on the first call, and the second may meet it anywhere: without
      // the pause that upstream makes here, it can be on its way to the old connection.
      try await peer.largeUnary()
      try await peer.largeUnary()
    },
    InteropCase(name: "rst_after_header") { peer in try await peer.expectFailure() },
    InteropCase(name: "rst_during_data") { peer in try await peer.expectFailure() },
    InteropCase(name: "rst_after_data") { peer in try await peer.expectFailure() },
    InteropCase(name: "ping") { peer in try await peer.largeUnary() },
    InteropCase(name: "max_streams") { peer in
      try await peer.largeUnary()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<10 { group.addTask { try await peer.largeUnary() } }
        try await group.waitForAll()
      }
    },
    InteropCase(name: "data_frame_padding") { peer in try await peer.largeUnary() },
    InteropCase(name: "no_df_padding_sanity_test") { peer in try await peer.largeUnary() },
    // Not upstream's.
    InteropCase(name: "early_trailers") { peer in try await peer.expectEarlyEnd() },
    InteropCase(name: "early_trailers_only") { peer in try await peer.expectEarlyEnd() },
  ]
}

extension InteropPeer {
  /// Makes a call that the server ends while the request is open.
  fileprivate func expectEarlyEnd() async throws {
    try await expectStatus(.aborted, of: "the call that ended early") {
      let call = client.fullDuplexCall()
      for try await _ in call.responses {
        throw CaseFailure("a response came that nobody asked for")
      }
    }
  }

  /// Makes a call that must not succeed; upstream leaves open with which status.
  fileprivate func expectFailure() async throws {
    do {
      _ = try await client.unaryCall(.large)
    } catch is RPCError {
      return
    }
    throw CaseFailure("the call succeeded although its stream was reset")
  }
}
