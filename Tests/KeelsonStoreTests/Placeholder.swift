// KeelsonStoreTests
