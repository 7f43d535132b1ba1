/// A queue: elements come in at the end and go out at the front. One that has gone out is let go
/// at once, which a slice of an array would not do.
package struct Deque<Element> {
  /// A ring: the elements lie at `head` and after it, going round at the end; all else is nil.
  private var slots: [Element?] = []
  private var head = 0
  package private(set) var count = 0

  package init() {}

  /// The elements of a sequence, the first of them at the front.
  package init(_ elements: some Sequence<Element>) {
    append(contentsOf: elements)
  }

  package var isEmpty: Bool { count == 0 }

  /// The element at the front.
  package var first: Element? { isEmpty ? nil : slots[head] }

  /// The element so many places behind the front.
  package subscript(offset: Int) -> Element {
    precondition(offset >= 0 && offset < count, "The queue has no element there.")
    return slots[place(offset)]!
  }

  package mutating func append(_ element: Element) {
    if count == slots.count { grow() }
    slots[place(count)] = element
    count += 1
  }

  package mutating func append(contentsOf elements: some Sequence<Element>) {
    for element in elements { append(element) }
  }

  /// Takes the element at the front out.
  package mutating func popFirst() -> Element? {
    guard !isEmpty else { return nil }
    let element = slots[head]
    slots[head] = nil
    head = place(1)
    count -= 1
    return element
  }

  private func place(_ offset: Int) -> Int {
    let place = head + offset
    return place < slots.count ? place : place - slots.count
  }

  private mutating func grow() {
    var larger: [Element?] = []
    larger.reserveCapacity(max(8, 2 * count))
    larger += slots[head...]
    larger += slots[..<head]
    larger += repeatElement(nil, count: max(8, 2 * count) - count)
    slots = larger
    head = 0
  }
}

extension Deque: Sendable where Element: Sendable {}
