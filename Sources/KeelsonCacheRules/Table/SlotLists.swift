/// Doubly linked lists of slots, in one flat array: a slot is in one list at most. Everything takes the
/// same time however long the lists are. 8 bytes a slot.
///
/// Each list is a ring through an anchor, and the anchors come first in the array. So a slot leaves its
/// list without anybody knowing which one that is.
package struct SlotLists {
  private struct Link {
    var previous: UInt32
    var next: UInt32
  }

  private var links: [Link] = []
  private let lists: Int

  package init(lists: Int) {
    self.lists = lists
    extend(toSlots: 0)
  }

  /// Slots from 0 on that there are; new ones are in no list.
  package var slots: Int { links.count - lists }

  package mutating func extend(toSlots slots: Int) {
    links.reserveCapacity(lists + slots)
    for index in links.count..<lists + slots {
      links.append(Link(previous: UInt32(index), next: UInt32(index)))
    }
  }

  var bytes: Int { HeapBytes.array(links) }

  package func isEmpty(_ list: Int) -> Bool { links[list].next == list }

  package func first(_ list: Int) -> Int? {
    let next = Int(links[list].next)
    return next == list ? nil : next - lists
  }

  /// The slot behind this one in its list.
  package func next(after slot: Int) -> Int? {
    let next = Int(links[lists + slot].next)
    return next < lists ? nil : next - lists
  }

  /// Puts a slot that is in no list at the end of one.
  package mutating func append(_ slot: Int, to list: Int) {
    insert(lists + slot, after: Int(links[list].previous), before: list)
  }

  package mutating func prepend(_ slot: Int, to list: Int) {
    insert(lists + slot, after: list, before: Int(links[list].next))
  }

  private mutating func insert(_ index: Int, after previous: Int, before next: Int) {
    links[index] = Link(previous: UInt32(previous), next: UInt32(next))
    links[previous].next = UInt32(index)
    links[next].previous = UInt32(index)
  }

  /// Takes a slot out of its list; does nothing when it is in none.
  package mutating func remove(_ slot: Int) {
    let index = lists + slot
    let link = links[index]
    links[Int(link.previous)].next = link.next
    links[Int(link.next)].previous = link.previous
    links[index] = Link(previous: UInt32(index), next: UInt32(index))
  }

  package mutating func moveToEnd(_ slot: Int, of list: Int) {
    guard Int(links[list].previous) != lists + slot else { return }
    remove(slot)
    append(slot, to: list)
  }

  /// Moves all of one list behind the end of another.
  package mutating func moveAll(of list: Int, to other: Int) {
    let anchor = links[list]
    guard Int(anchor.next) != list else { return }
    let last = links[other].previous
    links[Int(last)].next = anchor.next
    links[Int(anchor.next)].previous = last
    links[Int(anchor.previous)].next = UInt32(other)
    links[other].previous = anchor.previous
    links[list] = Link(previous: UInt32(list), next: UInt32(list))
  }
}
