// KeelsonCoreTests
