import KeelsonCore
import KeelsonRedis
import Testing

@Suite struct RedisURLTests {
  @Test func readsAllParts() throws {
    let url = try RedisURL("rediss://ops%40acme:p%40ss%3A%2F@[::1]:6390/7?ca=/etc/ca.pem")
    #expect(url.isSecure)
    #expect(url.user == "ops@acme")
    #expect(url.password?.text == "p@ss:/")
    #expect(url.host == "::1")
    #expect(url.port == 6390)
    #expect(url.database == 7)
    #expect(url.caFile == "/etc/ca.pem")
  }

  @Test func fillsInWhatIsLeftOut() throws {
    let url = try RedisURL("redis://cache.example")
    #expect(!url.isSecure)
    #expect(url.user == nil && url.password == nil)
    #expect(url.host == "cache.example" && url.port == 6379 && url.database == 0)
    #expect(try RedisURL("redis://:secret@h/").password?.text == "secret")
    #expect(try RedisURL("redis://:a@b@h").password?.text == "a@b")
  }

  @Test func describesItselfWithoutItsLogin() throws {
    let url = try RedisURL("redis://ops:hunter2@10.0.0.1:6379/2")
    #expect(url.description == "redis://10.0.0.1:6379/2")
    #expect(!"\(url)".contains("hunter2"))
  }

  @Test(arguments: [
    ("redis", "has no ://"), ("http://h", "'http' is another kind"),
    ("redis-sentinel://h:26379", "Sentinel is not supported"),
    ("redis+cluster://h", "Cluster is not supported"), ("redis://a,b", "several hosts"),
    ("redis://a:1,b:2/0", "several hosts"), ("redis://h:0", "the port is no number"),
    ("redis://h:hunter2", "the port is no number"), ("redis://h:70000", "the port is no number"),
    ("redis://", "the host is missing"), ("redis://ops@h", "a user without a password"),
    ("redis://h/one", "the database is a number"), ("redis://h/-1", "the database is a number"),
    ("redis://[::1", "bracket is not closed"), ("redis://::1", "between brackets"),
    ("redis://:%zz@h", "two hexadecimal digits"), ("redis://:%ff@h", "no text in UTF-8"),
    ("redis://:%00@h", "no text in UTF-8"), ("redis://h?ca=x", "for rediss://"),
    ("rediss://h?cert=x", "belong together"), ("rediss://h?hunter2=1", "other than ca"),
    ("redis://:hunter2#3@h", "written %23"), ("redis://h ost", "no host has"),
    ("unix:///run/redis.sock", "Unix socket is not supported"),
  ])
  func refusesWithASentence(_ text: String, _ reason: String) throws {
    let error = #expect(throws: RedisError.self) { try RedisURL(text) }
    #expect(error?.code == .refused)
    #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    #expect(error?.message.contains("hunter2") == false)
  }
}
