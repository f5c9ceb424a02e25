#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace shapes {

class Shape {
public:
    explicit Shape(std::string name) : name_(std::move(name)) {}
    virtual ~Shape() = default;
    virtual double area() const = 0;
    const std::string& name() const { return name_; }

private:
    std::string name_;
};

class Circle : public Shape {
public:
    explicit Circle(double radius) : Shape("circle"), radius_(radius) {}
    double area() const override {
        return M_PI * radius_ * radius_;
    }

private:
    double radius_;
};

double total_area(const std::vector<std::unique_ptr<Shape>>& all) {
    double sum = 0.0;
    for (const auto& shape : all) {
        if (shape->area() > 0.0) {
            sum += shape->area();
        }
    }
    return sum;
}

}  // namespace shapes
