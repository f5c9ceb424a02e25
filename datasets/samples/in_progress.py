"""Grades of a class; some lines are left unfinished on purpose: they are what Lacuna is asked to complete."""

import json
import statistics


class Student:
    def __init__(self, name, grades):
        self.name = name
        self.grades = gra

    def add_grade(self, grade):
        if grade < 1 or grade > 6:
            raise ValueError(f"grade {grade} is out of range")
        self.grades.append(

    def average(self):
        if not self.grades:
            return None
        return sum(self.grades) / len(

    def best(self):
        return min(self.grades)

    def worst(self):
        return max(

    def passed(self):
        average = self.average()
        return average is not None and average <= 4


def load_students(path):
    with open(path, encoding="utf-8") as file:
        data = json.load(
    students = []
    for entry in data:
        students.append(Student(entry["name"], entry["gr
    return students


def names_of_passed(students):
    names = []
    for student in students:
        if student.passed():
            names.app
    return names


def histogram(students):
    counts = {}
    for student in students:
        for grade in student.grades:
            counts[grade] = counts.get(grade, 0) + 1
    return cou


def ranks(students):
    ordered = sorted(students, key=lambda student: student.average())
    result = {}
    for i in ran
        result[ordered[i].name] = i + 1
    return result


def class_average(students):
    return statistics.mean(student.average() for student in stu
