"""Small functions on lists, the kind that every project ends up with."""


def chunks(items, size):
    if size <= 0:
        raise ValueError("size must be positive")
    for start in range(0, len(items), size):
        yield items[start:start + size]


def flatten(nested):
    result = []
    for inner in nested:
        for item in inner:
            result.append(item)
    return result


def unique(items):
    seen = set()
    result = []
    for item in items:
        if item not in seen:
            seen.add(item)
            result.append(item)
    return result


def partition(items, predicate):
    yes = []
    no = []
    for item in items:
        if predicate(item):
            yes.append(item)
        else:
            no.append(item)
    return yes, no


def index_of(items, wanted):
    for i in range(len(items)):
        if items[i] == wanted:
            return i
    return -1


def running_total(numbers):
    total = 0
    result = []
    for number in numbers:
        total += number
        result.append(total)
    return result


def transpose(rows):
    if not rows:
        return []
    result = []
    for column in range(len(rows[0])):
        result.append([row[column] for row in rows])
    return result


def merge_sorted(left, right):
    result = []
    i = 0
    j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            result.append(left[i])
            i += 1
        else:
            result.append(right[j])
            j += 1
    result.extend(left[i:])
    result.extend(right[j:])
    return result


def binary_search(items, wanted):
    low = 0
    high = len(items) - 1
    while low <= high:
        middle = (low + high) // 2
        if items[middle] == wanted:
            return middle
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle - 1
    return -1
