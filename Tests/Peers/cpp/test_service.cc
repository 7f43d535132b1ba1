#include "test_service.h"

#include <grpc/grpc.h>
#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <string>

// Exported by the core library for tests like these; in none of its public headers.
uint32_t grpc_call_test_only_get_message_flags(grpc_call* call);

namespace grpc::testing {

// The library's contexts have a class of this name for a friend, so that an interop server can
// learn what no public function tells: whether the last message came compressed.
class InteropServerContextInspector {
 public:
  static bool WasCompressed(const CallbackServerContext& context) {
    constexpr uint32_t kWasCompressed = 0x40000000u;  // before the library inflated it
    return grpc_call_test_only_get_message_flags(context.call_.call) & kWasCompressed;
  }
};

}  // namespace grpc::testing

namespace {

using grpc::CallbackServerContext;
using grpc::Status;
using grpc::StatusCode;
using grpc::testing::EchoStatus;
using grpc::testing::InteropServerContextInspector;
using grpc::testing::Payload;
using grpc::testing::SimpleRequest;
using grpc::testing::SimpleResponse;
using grpc::testing::StreamingInputCallRequest;
using grpc::testing::StreamingInputCallResponse;
using grpc::testing::StreamingOutputCallRequest;
using grpc::testing::StreamingOutputCallResponse;

const char kInitialKey[] = "x-grpc-test-echo-initial";
const char kTrailingKey[] = "x-grpc-test-echo-trailing-bin";

void EchoMetadata(CallbackServerContext* context) {
  const auto& metadata = context->client_metadata();
  if (auto found = metadata.find(kInitialKey); found != metadata.end()) {
    context->AddInitialMetadata(kInitialKey, {found->second.data(), found->second.size()});
  }
  if (auto found = metadata.find(kTrailingKey); found != metadata.end()) {
    context->AddTrailingMetadata(kTrailingKey, {found->second.data(), found->second.size()});
  }
}

Status EchoedStatus(const EchoStatus& echo) {
  return Status(static_cast<StatusCode>(echo.code()), echo.message());
}

// A request that says it is compressed must be, the other way round as well.
template <typename Request>
bool CameAsExpected(const CallbackServerContext& context, const Request& request) {
  return !request.has_expect_compressed() ||
         request.expect_compressed().value() ==
             InteropServerContextInspector::WasCompressed(context);
}

Status UnexpectedCompression() {
  return Status(StatusCode::INVALID_ARGUMENT,
                "The message's compression is not what expect_compressed says.");
}

bool IsValidSize(int32_t bytes) { return bytes >= 0 && bytes <= 64 << 20; }

Status InvalidSize() {
  return Status(StatusCode::INVALID_ARGUMENT, "A response has 0 bytes to 64 MiB.");
}

void Fill(Payload* payload, int32_t bytes) { payload->mutable_body()->assign(bytes, '\0'); }

bool AsksForCompression(const StreamingOutputCallRequest& request) {
  for (const auto& parameters : request.response_parameters()) {
    if (parameters.compressed().value()) return true;
  }
  return false;
}

Status Answer(CallbackServerContext* context, const SimpleRequest& request,
              SimpleResponse* response) {
  EchoMetadata(context);
  if (!CameAsExpected(*context, request)) return UnexpectedCompression();
  if (request.response_status().code() != 0) return EchoedStatus(request.response_status());
  if (!IsValidSize(request.response_size())) return InvalidSize();
  if (request.response_compressed().value()) {
    context->set_compression_level(GRPC_COMPRESS_LEVEL_HIGH);
  }
  if (request.response_size() > 0) Fill(response->mutable_payload(), request.response_size());
  return Status::OK;
}

// Sends the responses that a request asks for, one after the other, each after its interval. It
// has no word of a cancelled call but from the write or the interval under way when it comes.
template <typename Reactor>
class Responder {
 public:
  Responder(CallbackServerContext* context, Reactor* reactor)
      : context_(context), reactor_(reactor) {}

  // Whether the call has a message that is to be compressed; before the first is sent.
  void Compress() { context_->set_compression_level(GRPC_COMPRESS_LEVEL_HIGH); }

  // Begins with a request, which stays in place until Next() has returned false.
  void Start(const StreamingOutputCallRequest& request) {
    request_ = &request;
    position_ = 0;
  }

  // Begins with the next response; false when there is none. `Finish` is called for one that
  // cannot be.
  bool Next() {
    if (position_ == request_->response_parameters_size()) return false;
    const auto& parameters = request_->response_parameters(position_);
    if (!IsValidSize(parameters.size())) {
      reactor_->Finish(InvalidSize());
    } else if (parameters.interval_us() > 0) {
      const auto due =
          std::chrono::system_clock::now() + std::chrono::microseconds(parameters.interval_us());
      alarm_.Set(due, [this](bool) { Write(); });
    } else {
      Write();
    }
    return true;
  }

 private:
  void Write() {
    const auto& parameters = request_->response_parameters(position_);
    position_ += 1;
    Fill(response_.mutable_payload(), parameters.size());
    grpc::WriteOptions options;
    if (!parameters.compressed().value()) options.set_no_compression();
    reactor_->StartWrite(&response_, options);
  }

  CallbackServerContext* context_;
  Reactor* reactor_;
  grpc::Alarm alarm_;
  const StreamingOutputCallRequest* request_ = nullptr;
  int position_ = 0;
  StreamingOutputCallResponse response_;
};

class OutputCall final : public grpc::ServerWriteReactor<StreamingOutputCallResponse> {
 public:
  OutputCall(CallbackServerContext* context, const StreamingOutputCallRequest* request)
      : responder_(context, this), status_(EchoedStatus(request->response_status())) {
    EchoMetadata(context);
    if (AsksForCompression(*request)) responder_.Compress();
    responder_.Start(*request);
    OnWriteDone(true);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      Finish(Status::CANCELLED);
    } else if (!responder_.Next()) {
      Finish(status_);
    }
  }
  void OnDone() override { delete this; }

 private:
  Responder<OutputCall> responder_;
  Status status_;
};

class InputCall final : public grpc::ServerReadReactor<StreamingInputCallRequest> {
 public:
  InputCall(CallbackServerContext* context, StreamingInputCallResponse* response)
      : context_(context), response_(response) {
    EchoMetadata(context);
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      response_->set_aggregated_payload_size(static_cast<int32_t>(bytes_));
      Finish(Status::OK);
    } else if (!CameAsExpected(*context_, request_)) {
      Finish(UnexpectedCompression());
    } else {
      bytes_ += request_.payload().body().size();
      StartRead(&request_);
    }
  }
  void OnDone() override { delete this; }

 private:
  CallbackServerContext* context_;
  StreamingInputCallResponse* response_;
  StreamingInputCallRequest request_;
  size_t bytes_ = 0;
};

// Answers each request before it reads the next or, as a half duplex, all of them at the end.
class DuplexCall final : public grpc::ServerBidiReactor<StreamingOutputCallRequest,
                                                        StreamingOutputCallResponse> {
 public:
  DuplexCall(CallbackServerContext* context, bool is_half)
      : responder_(context, this), is_half_(is_half) {
    EchoMetadata(context);
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      is_at_end_ = true;
      if (is_half_) {
        Respond(gathered_);
      } else {
        Finish(Status::OK);
      }
    } else if (request_.response_status().code() != 0) {
      Finish(EchoedStatus(request_.response_status()));
    } else if (is_half_) {
      gathered_.MergeFrom(request_);
      StartRead(&request_);
    } else {
      Respond(request_);
    }
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      Finish(Status::CANCELLED);
    } else if (!responder_.Next()) {
      if (is_at_end_) {
        Finish(Status::OK);
      } else {
        StartRead(&request_);
      }
    }
  }
  void OnDone() override { delete this; }

 private:
  void Respond(const StreamingOutputCallRequest& request) {
    // The encoding stands in the headers, so the first request decides.
    if (!has_responded_ && AsksForCompression(request)) responder_.Compress();
    has_responded_ = true;
    responder_.Start(request);
    OnWriteDone(true);
  }

  Responder<DuplexCall> responder_;
  const bool is_half_;
  bool is_at_end_ = false;
  bool has_responded_ = false;
  StreamingOutputCallRequest request_;
  StreamingOutputCallRequest gathered_;
};

}  // namespace

grpc::ServerUnaryReactor* TestService::EmptyCall(CallbackServerContext* context,
                                                 const grpc::testing::Empty*,
                                                 grpc::testing::Empty*) {
  EchoMetadata(context);
  auto* reactor = context->DefaultReactor();
  reactor->Finish(Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* TestService::UnaryCall(CallbackServerContext* context,
                                                 const SimpleRequest* request,
                                                 SimpleResponse* response) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(Answer(context, *request, response));
  return reactor;
}

grpc::ServerUnaryReactor* TestService::CacheableUnaryCall(CallbackServerContext* context,
                                                          const SimpleRequest* request,
                                                          SimpleResponse* response) {
  context->AddInitialMetadata("cache-control", "max-age=60, public");
  return UnaryCall(context, request, response);
}

grpc::ServerWriteReactor<StreamingOutputCallResponse>* TestService::StreamingOutputCall(
    CallbackServerContext* context, const StreamingOutputCallRequest* request) {
  return new OutputCall(context, request);
}

grpc::ServerReadReactor<StreamingInputCallRequest>* TestService::StreamingInputCall(
    CallbackServerContext* context, StreamingInputCallResponse* response) {
  return new InputCall(context, response);
}

grpc::ServerBidiReactor<StreamingOutputCallRequest, StreamingOutputCallResponse>*
TestService::FullDuplexCall(CallbackServerContext* context) {
  return new DuplexCall(context, false);
}

grpc::ServerBidiReactor<StreamingOutputCallRequest, StreamingOutputCallResponse>*
TestService::HalfDuplexCall(CallbackServerContext* context) {
  return new DuplexCall(context, true);
}
