#pragma once

#include "grpc/testing/test.grpc.pb.h"

// grpc.testing.TestService as grpc/grpc doc/interop-test-descriptions.md wants it of a server.
// UnimplementedCall stays as the library has it.
class TestService final : public grpc::testing::TestService::CallbackService {
  using SimpleRequest = grpc::testing::SimpleRequest;
  using SimpleResponse = grpc::testing::SimpleResponse;
  using InputRequest = grpc::testing::StreamingInputCallRequest;
  using InputResponse = grpc::testing::StreamingInputCallResponse;
  using OutputRequest = grpc::testing::StreamingOutputCallRequest;
  using OutputResponse = grpc::testing::StreamingOutputCallResponse;

  grpc::ServerUnaryReactor* EmptyCall(grpc::CallbackServerContext* context,
                                      const grpc::testing::Empty* request,
                                      grpc::testing::Empty* response) override;
  grpc::ServerUnaryReactor* UnaryCall(grpc::CallbackServerContext* context,
                                      const SimpleRequest* request,
                                      SimpleResponse* response) override;
  grpc::ServerUnaryReactor* CacheableUnaryCall(grpc::CallbackServerContext* context,
                                               const SimpleRequest* request,
                                               SimpleResponse* response) override;
  grpc::ServerWriteReactor<OutputResponse>* StreamingOutputCall(
      grpc::CallbackServerContext* context, const OutputRequest* request) override;
  grpc::ServerReadReactor<InputRequest>* StreamingInputCall(
      grpc::CallbackServerContext* context, InputResponse* response) override;
  grpc::ServerBidiReactor<OutputRequest, OutputResponse>* FullDuplexCall(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<OutputRequest, OutputResponse>* HalfDuplexCall(
      grpc::CallbackServerContext* context) override;
};
