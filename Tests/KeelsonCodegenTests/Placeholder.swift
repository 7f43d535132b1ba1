// KeelsonCodegenTests
