#include "health_service.h"

#include <mutex>

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

bool IsKnown(const std::string& service) {
  return service.empty() || service == "grpc.testing.TestService";
}

// Tells the status once and stays until the caller leaves, since it never changes.
class Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  explicit Watcher(bool is_known) {
    response_.set_status(is_known ? HealthCheckResponse::SERVING
                                  : HealthCheckResponse::SERVICE_UNKNOWN);
    StartWrite(&response_);
  }

  void OnCancel() override { FinishOnce(); }
  void OnWriteDone(bool ok) override {
    if (!ok) FinishOnce();
  }
  void OnDone() override { delete this; }

 private:
  void FinishOnce() {
    std::call_once(finished_, [this] { Finish(grpc::Status::CANCELLED); });
  }

  HealthCheckResponse response_;
  std::once_flag finished_;
};

}  // namespace

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (IsKnown(request->service())) {
    response->set_status(HealthCheckResponse::SERVING);
    reactor->Finish(grpc::Status::OK);
  } else {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "That service is not here."));
  }
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext*, const HealthCheckRequest* request) {
  return new Watcher(IsKnown(request->service()));
}
