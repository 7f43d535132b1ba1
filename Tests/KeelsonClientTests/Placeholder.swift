// KeelsonClientTests
