// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

/// @title Many payouts in one transaction, each batch at most once.
/// @notice An operator (a hot wallet) pays from its own coins and allowance; the contract keeps
/// nothing between calls. One failing payment reverts the whole batch: the caller simulates first
/// and leaves offenders out. The owner can pause, name operators, and send what strayed here to
/// the cold address, which is fixed at deployment; it can pay nobody else.
contract BatchPayout is Ownable2Step, Pausable, ReentrancyGuard {
    using SafeERC20 for IERC20;

    /// @param to Who is paid.
    /// @param amount In the smallest unit of the token, or wei.
    /// @param ref What the payer calls this payment; it comes back in the event.
    struct Payment {
        address to;
        uint256 amount;
        bytes32 ref;
    }

    /// @notice Where strayed funds are sent; nothing else can ever be drained to.
    address public immutable cold;

    /// @notice Whether a batch of this id was paid.
    mapping(bytes32 batchId => bool) public paid;

    /// @notice Who may pay batches.
    mapping(address account => bool) public isOperator;

    /// @notice One payment was made. `token` is zero for the native coin.
    event Paid(
        bytes32 indexed batchId,
        bytes32 indexed ref,
        address indexed to,
        address token,
        uint256 amount
    );
    /// @notice An operator was named or dismissed.
    event OperatorChanged(address indexed account, bool allowed);
    /// @notice Strayed funds were sent to the cold address.
    event Drained(address indexed token, uint256 amount);

    /// @notice Only operators pay.
    error NotOperator(address account);
    /// @notice This batch was paid already.
    error BatchAlreadyPaid(bytes32 batchId);
    /// @notice A batch without payments.
    error EmptyBatch();
    /// @notice A payment of nothing, to nobody, or to this contract.
    error InvalidPayment(uint256 index);
    /// @notice The coins sent along are not what the payments sum up to.
    error WrongValue(uint256 sent, uint256 needed);
    /// @notice A recipient did not take the native coin.
    error NativeRefused(address to);
    /// @notice The token delivered less than was asked for (a fee on transfer).
    error ShortDelivery(uint256 received, uint256 needed);
    /// @notice The token said it moved what it did not move: the contract holds `held`, not `wanted`.
    error UnevenBatch(uint256 held, uint256 wanted);
    /// @notice An address that must not be zero is zero.
    error ZeroAddress();

    modifier onlyOperator() {
        if (!isOperator[msg.sender]) revert NotOperator(msg.sender);
        _;
    }

    /// @param owner_ Who may pause and name operators.
    /// @param cold_ Where `drain` sends to, for ever.
    constructor(address owner_, address cold_) Ownable(owner_) {
        if (cold_ == address(0)) revert ZeroAddress();
        cold = cold_;
    }

    /// @notice Pay many in one token, out of the caller's allowance to this contract.
    /// @dev A fee the token takes from each recipient on the way out alone is not seen here; such
    /// a token has no place in the registry.
    /// @param batchId Any id not used before; the wallet takes a hash of the ordered payments.
    /// @param token What is paid.
    /// @param payments Who gets how much, in order.
    function payToken(bytes32 batchId, IERC20 token, Payment[] calldata payments)
        external
        onlyOperator
        whenNotPaused
        nonReentrant
    {
        uint256 total = _begin(batchId, payments);
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), total);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != total) revert ShortDelivery(received, total);
        uint256 count = payments.length;
        for (uint256 i; i < count; ++i) {
            Payment calldata payment = payments[i];
            emit Paid(batchId, payment.ref, payment.to, address(token), payment.amount);
            token.safeTransfer(payment.to, payment.amount);
        }
        // What a token answers is not believed: all of it must have left again, and no more.
        uint256 held = token.balanceOf(address(this));
        if (held != before) revert UnevenBatch(held, before);
    }

    /// @notice Pay many in the native coin; the sum must be sent along exactly.
    /// @param batchId Any id not used before, for tokens or coins.
    /// @param payments Who gets how much wei, in order.
    function payNative(bytes32 batchId, Payment[] calldata payments)
        external
        payable
        onlyOperator
        whenNotPaused
        nonReentrant
    {
        uint256 total = _begin(batchId, payments);
        if (msg.value != total) revert WrongValue(msg.value, total);
        uint256 count = payments.length;
        for (uint256 i; i < count; ++i) {
            Payment calldata payment = payments[i];
            emit Paid(batchId, payment.ref, payment.to, address(0), payment.amount);
            // Wanted: an operator's own coins (the sum equals msg.value) go to whom it names, in
            // a loop, by a call that forwards gas so that contract wallets can be paid. Re-entry
            // is barred, and one refusal reverts everything.
            // slither-disable-next-line arbitrary-send-eth,calls-loop,low-level-calls
            (bool taken,) = payment.to.call{value: payment.amount}("");
            if (!taken) revert NativeRefused(payment.to);
        }
    }

    /// @notice Name or dismiss an operator.
    /// @param account A hot wallet. It can only ever spend its own coins and allowance here.
    /// @param allowed Whether it may pay batches from now on.
    function setOperator(address account, bool allowed) external onlyOwner {
        if (account == address(0)) revert ZeroAddress();
        isOperator[account] = allowed;
        emit OperatorChanged(account, allowed);
    }

    /// @notice Stop all payouts.
    function pause() external onlyOwner {
        _pause();
    }

    /// @notice Let payouts go on.
    function unpause() external onlyOwner {
        _unpause();
    }

    /// @notice Send everything of a token (zero: the native coin) that strayed here to `cold`.
    /// @param token The token's contract, or zero.
    function drain(IERC20 token) external onlyOwner nonReentrant {
        uint256 amount;
        if (address(token) == address(0)) {
            amount = address(this).balance;
            emit Drained(address(0), amount);
            // To the immutable cold address only; a call, since it may be a contract wallet.
            // slither-disable-next-line low-level-calls
            (bool taken,) = cold.call{value: amount}("");
            if (!taken) revert NativeRefused(cold);
        } else {
            amount = token.balanceOf(address(this));
            emit Drained(address(token), amount);
            token.safeTransfer(cold, amount);
        }
    }

    /// @dev Marks the batch paid and returns the sum. Everything after it reverts as a whole.
    function _begin(bytes32 batchId, Payment[] calldata payments)
        private
        returns (uint256 total)
    {
        if (paid[batchId]) revert BatchAlreadyPaid(batchId);
        paid[batchId] = true;
        uint256 count = payments.length;
        if (count == 0) revert EmptyBatch();
        for (uint256 i; i < count; ++i) {
            Payment calldata payment = payments[i];
            if (payment.amount == 0 || payment.to == address(0) || payment.to == address(this)) {
                revert InvalidPayment(i);
            }
            total += payment.amount;
        }
    }
}
