package samples;

import java.math.BigDecimal;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** An account with a history; money is never a floating-point number. */
public class BankAccount {
    private final String owner;
    private final List<Transaction> transactions = new ArrayList<>();
    private BigDecimal balance = BigDecimal.ZERO;

    public BankAccount(String owner) {
        if (owner == null || owner.isBlank()) {
            throw new IllegalArgumentException("owner must not be empty");
        }
        this.owner = owner;
    }

    public String getOwner() {
        return owner;
    }

    public BigDecimal getBalance() {
        return balance;
    }

    public List<Transaction> getTransactions() {
        return Collections.unmodifiableList(transactions);
    }

    public void deposit(BigDecimal amount, LocalDate day) {
        checkPositive(amount);
        balance = balance.add(amount);
        transactions.add(new Transaction(amount, day, "deposit"));
    }

    public void withdraw(BigDecimal amount, LocalDate day) {
        checkPositive(amount);
        if (balance.compareTo(amount) < 0) {
            throw new IllegalStateException("insufficient funds: " + balance);
        }
        balance = balance.subtract(amount);
        transactions.add(new Transaction(amount.negate(), day, "withdrawal"));
    }

    public void transfer(BankAccount target, BigDecimal amount, LocalDate day) {
        if (target == this) {
            throw new IllegalArgumentException("cannot transfer to the same account");
        }
        withdraw(amount, day);
        target.deposit(amount, day);
    }

    public BigDecimal balanceOn(LocalDate day) {
        BigDecimal total = BigDecimal.ZERO;
        for (Transaction transaction : transactions) {
            if (!transaction.day().isAfter(day)) {
                total = total.add(transaction.amount());
            }
        }
        return total;
    }

    private static void checkPositive(BigDecimal amount) {
        if (amount.signum() <= 0) {
            throw new IllegalArgumentException("amount must be positive");
        }
    }

    @Override
    public String toString() {
        return owner + ": " + balance;
    }

    /** One change of the balance. */
    public record Transaction(BigDecimal amount, LocalDate day, String kind) {}
}
