// KeelsonTestKit
