#include <stdlib.h>
#include <string.h>

#define MAX_NAME 64

struct node {
    char name[MAX_NAME];
    int weight;
    struct node *next;
};

/* Adds a node before the first one. */
struct node *push(struct node *head, const char *name, int weight)
{
    struct node *new_node = malloc(sizeof(*new_node));
    if (new_node == NULL) {
        return head;
    }
    strncpy(new_node->name, name, MAX_NAME - 1);
    new_node->name[MAX_NAME - 1] = '\0';
    new_node->weight = weight;
    new_node->next = head;
    return new_node;
}

int total(const struct node *head)
{
    int sum = 0;
    for (const struct node *n = head; n != NULL; n = n->next) {
        sum += n->weight;
    }
    return sum;
}

void release(struct node *head)
{
    while (head != NULL) {
        struct node *next = head->next;
        free(head);
        head = next;
    }
}
