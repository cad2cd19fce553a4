// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A plain ERC-20 for sandboxes and tests. Worthless by design.
/// @notice The whole supply is minted once to `owner_`; nobody can mint, pause or freeze.
contract TestToken is ERC20 {
    uint8 private immutable _decimals;

    /// @param initialSupply In the smallest unit, not in whole tokens.
    constructor(
        string memory name_,
        string memory symbol_,
        uint8 decimals_,
        uint256 initialSupply,
        address owner_
    ) ERC20(name_, symbol_) {
        _decimals = decimals_;
        _mint(owner_, initialSupply);
    }

    function decimals() public view override returns (uint8) {
        return _decimals;
    }
}
