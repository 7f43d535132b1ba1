package import KeelsonAPI
package import KeelsonCore
import KeelsonJobRules

extension JobService {
  package func listJobs(
    _ request: API.ListJobsRequest, context: ServerContext
  ) async throws -> API.ListJobsResponse {
    let filter = try JobQuery.Filter(request.filter ?? .init(), validation: validation)
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: fields.encoded(),
      limits: limits.pages)
    var before: JobID?
    if !page.after.isEmpty {
      guard let id = JobID(page.after) else { throw PageRequest.foreignToken }
      before = id
    }
    let query = JobQuery(filter: filter, before: before, limit: page.size + 1)
    let rows = limits.rowsPerPage
    let (jobs, end) = try await read { try await query.run(rowsPerPage: rows, in: $0) }
    var response = API.ListJobsResponse()
    (response.jobs, response.nextPageToken) = page.cut(jobs.map(\.message), by: \.id)
    if response.nextPageToken.isEmpty, let end { response.nextPageToken = page.token(end.text) }
    return response
  }

  package func listWorkers(
    _ request: API.ListWorkersRequest, context: ServerContext
  ) async throws -> API.ListWorkersResponse {
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: [], limits: limits.pages)
    let key = { (worker: API.Worker) in "\(worker.name) \(worker.session)" }
    let workers = dispatcher.workers.map(\.message)
      .map { (key($0), $0) }.filter { $0.0 > page.after }.sorted { $0.0 < $1.0 }
    var response = API.ListWorkersResponse()
    (response.workers, response.nextPageToken) = page.cut(
      workers.prefix(page.size + 1).map(\.1), by: key)
    return response
  }

  package func watchJobs(
    _ request: API.WatchJobsRequest, responses: ResponseWriter<API.WatchJobsResponse>,
    context: ServerContext
  ) async throws {
    if request.id.isEmpty {
      let filter = try JobQuery.Filter(request.filter ?? .init(), validation: validation)
      guard filter.canBeWatched else {
        throw RPCError.invalidArgument(
          field: "filter", "may have states, a queue and a kind only; use ListJobs for the rest")
      }
      try await watch(matching: filter, responses)
    } else {
      try await watch(try JobValidation.id(request.id), responses)
    }
  }

  private func watch(
    matching filter: JobQuery.Filter, _ responses: ResponseWriter<API.WatchJobsResponse>
  ) async throws {
    let watcher = try watches.open { filter.matches($0) }
    defer { watches.close(watcher) }
    while let (jobs, skipped) = try await watches.next(for: watcher) {
      var response = API.WatchJobsResponse()
      response.skipped = Int64(skipped)
      guard !jobs.isEmpty else {
        try await responses.write(response)
        continue
      }
      for job in jobs {
        response.job = job
        try await responses.write(response)
        response.skipped = 0
      }
    }
  }

  private func watch(
    _ id: JobID, _ responses: ResponseWriter<API.WatchJobsResponse>
  ) async throws {
    // Opened ahead of the first look, so that nothing is missed between the two.
    let watcher = try watches.open(job: id.text)
    defer { watches.close(watcher) }
    // What its handler has said last: told ahead of being kept.
    var progress: API.Job?
    while true {
      let job = try await read { try await JobRepository.job(id, in: $0) }
      guard let job else { throw JobEngine.noJob(id) }
      var message = job.message
      if let progress, progress.attempt == message.attempt {
        message.progress = progress.progress
        message.progressMessage = progress.progressMessage
      }
      var response = API.WatchJobsResponse()
      response.job = message
      try await responses.write(response)
      guard !job.lifecycle.state.hasEnded else { return }
      var hasNews = false
      while !hasNews {
        guard let (jobs, _) = try await watches.next(for: watcher) else { return }
        hasNews = !jobs.isEmpty
        if let news = jobs.last, news.progress > 0 { progress = news }
        if !hasNews { try await responses.write(API.WatchJobsResponse()) }
      }
    }
  }
}
