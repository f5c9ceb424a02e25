"""Points, rectangles and polygons in the plane."""

import math


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def __repr__(self):
        return f"Point({self.x}, {self.y})"

    def __eq__(self, other):
        return isinstance(other, Point) and self.x == other.x and self.y == other.y

    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)

    def __sub__(self, other):
        return Point(self.x - other.x, self.y - other.y)

    def scale(self, factor):
        return Point(self.x * factor, self.y * factor)

    def length(self):
        return math.sqrt(self.x * self.x + self.y * self.y)

    def distance(self, other):
        return (self - other).length()


class Rectangle:
    def __init__(self, left, top, right, bottom):
        self.left = left
        self.top = top
        self.right = right
        self.bottom = bottom

    def width(self):
        return self.right - self.left

    def height(self):
        return self.bottom - self.top

    def area(self):
        return self.width() * self.height()

    def contains(self, point):
        if point.x < self.left or point.x > self.right:
            return False
        if point.y < self.top or point.y > self.bottom:
            return False
        return True

    def intersection(self, other):
        left = max(self.left, other.left)
        top = max(self.top, other.top)
        right = min(self.right, other.right)
        bottom = min(self.bottom, other.bottom)
        if left >= right or top >= bottom:
            return None
        return Rectangle(left, top, right, bottom)


def polygon_area(points):
    total = 0
    for i in range(len(points)):
        a = points[i]
        b = points[(i + 1) % len(points)]
        total += a.x * b.y - b.x * a.y
    return abs(total) / 2


def polygon_perimeter(points):
    total = 0
    for i in range(len(points)):
        a = points[i]
        b = points[(i + 1) % len(points)]
        total += a.distance(b)
    return total


def centroid(points):
    x = sum(point.x for point in points) / len(points)
    y = sum(point.y for point in points) / len(points)
    return Point(x, y)


def bounding_box(points):
    left = min(point.x for point in points)
    top = min(point.y for point in points)
    right = max(point.x for point in points)
    bottom = max(point.y for point in points)
    return Rectangle(left, top, right, bottom)
